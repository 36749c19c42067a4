"""Environments of Gymnasium's kind, and Gymnasium's own where it is installed."""

import random
from typing import Any

import pytest

from duomem_mlx.doctor.checks import OK
from duomem_mlx.doctor.world import examine_world
from duomem_mlx.guarded import open_game
from duomem_mlx.offers import WorldBroke
from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.scripted import ScriptedTeacher
from duomem_mlx.text_gym import TextGym


class Doors:
    """Behind one of three doors is a way out; every door that is opened is worth a quarter."""

    says_won = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        self.right = random.Random(seed).choice(["red", "green", "blue"])
        self.left = 3
        return f"Three doors. A voice says {self.right}.", {"task": "leave by the right door"}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        out = action == f"open {self.right}"
        info = {"success": out} if self.says_won else {}
        return f"You {action}.", 1.0 if out else 0.25, out, self.left == 0, info


class Announced(Doors):
    says_won = True


SPLITS = {"train": [f"train {n}" for n in range(20)], "test": [f"test {n}" for n in range(5)]}


def world(make: Any = Doors) -> TextGym:
    return TextGym("doors", "Open a door.", lambda task_id: make(), SPLITS)


@pytest.mark.parametrize("make", [Doors, Announced])
def test_a_gym_is_played_won_lost_and_begun_again(make: Any) -> None:
    right = [open_game(world(make), task).reset().split()[-1].rstrip(".") for task in SPLITS["train"]]
    assert len(set(right)) == 3
    won = attempt(world(make), "train 3", ScriptedTeacher([f"open {right[3]}"]), {"kind": "scripted"}, 9)
    assert (won.won, won.score, won.end, won.split, won.task) == (True, 1.0, "won", "train", "leave by the right door")
    lost = attempt(world(make), "train 3", ScriptedTeacher(["wait", "wait", "wait"]), {"kind": "scripted"}, 9)
    assert (lost.won, lost.score, lost.end, len(lost.steps)) == (False, 0.75, "lost", 3)
    game = open_game(world(make), "test 1")
    opening = game.reset()
    game.step("wait")
    assert (game.reset(), game.score, game.done) == (opening, 0.0, False)


@pytest.mark.parametrize(("reward", "score"), [(-2.0, 0.0), (7.0, 1.0)])
def test_what_is_said_in_mid_game_is_no_verdict_and_a_score_is_between_0_and_1(reward: float, score: float) -> None:
    class Loud(Doors):
        def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
            return "On.", reward, False, False, {"won": True}

    game = open_game(world(Loud), "test 1")
    game.reset()
    game.step("wait")
    assert (game.done, game.won, game.score) == (False, False, score)


def test_it_passes_the_check() -> None:
    checks = examine_world(world(), world().splits, 2)
    assert {check.status for check in checks if " " in check.name} == {OK}


def test_one_that_gives_no_text_is_told() -> None:
    class Numbers(Doors):
        def step(self, action: str) -> Any:
            return 3, 0.0, False, False, {}

    game = open_game(world(Numbers), "test 1")
    game.reset()
    with pytest.raises(WorldBroke, match="`step` gave int where a text belongs"):
        game.step("wait")


def test_gymnasiums_own_wrappers_work() -> None:
    gymnasium = pytest.importorskip("gymnasium")

    class Real(Doors, gymnasium.Env):  # type: ignore[misc, name-defined]
        action_space = observation_space = gymnasium.spaces.Text(200, charset=[chr(c) for c in range(32, 127)])

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
            gymnasium.Env.reset(self, seed=seed)
            return Doors.reset(self, seed=seed)

    wrapped = world(lambda: gymnasium.wrappers.TimeLimit(gymnasium.wrappers.PassiveEnvChecker(Real()), 2))
    lost = attempt(wrapped, "test 1", ScriptedTeacher(["wait"] * 3), {"kind": "scripted"}, 9)
    assert (lost.end, len(lost.steps), lost.score) == ("lost", 2, 0.5)
