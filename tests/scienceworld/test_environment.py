"""The game and its environment beside a simulator made up here: no Java."""

import gc
from pathlib import Path

import pytest

from duomem_mlx.environment import find_environment
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.offers import solutions_of
from duomem_mlx.scienceworld import environment, simulator
from duomem_mlx.scienceworld.environment import ScienceWorld
from duomem_mlx.scienceworld.gold import readable
from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.scripted import ScriptedTeacher

PATH = ["open door to kitchen", "go to kitchen", "focus on table", "move table to red box"]


class MadeUp:
    """A third for being in the kitchen, two for the focus, all for the box; the wrong focus spoils it."""

    started = 0
    dies_at = ""

    def __init__(self) -> None:
        self.broken = False
        MadeUp.started += 1

    def load(self, task: str, variation: int, gold: bool = False) -> None:
        self.score, self.completed, self.said = 0.0, False, f"Your task is to do {task} {variation}."

    def step(self, action: str) -> str:
        if action == self.dies_at:
            self.broken = True
            raise DuomemError("ScienceWorld's simulator ended in mid-game (gone).", simulator.AGAIN)
        worth = {"go to kitchen": 1 / 3, "focus on table": 2 / 3, "move table to red box": 1.0, "focus on air": -1.0}
        self.score = worth.get(action, self.score)
        self.completed = self.score == 1.0
        return f"You {action}.\n"

    def task(self) -> str:
        return self.said

    def verdict(self) -> tuple[float, bool]:
        return self.score, self.completed

    def gold_path(self) -> list[str]:
        return PATH

    def close(self) -> None:
        self.broken = True


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> ScienceWorld:
    monkeypatch.setattr(simulator, "Simulator", MadeUp)
    monkeypatch.setattr(environment, "check_installed", lambda: None)
    monkeypatch.setattr(MadeUp, "started", 0)
    monkeypatch.setattr(MadeUp, "dies_at", "")
    return ScienceWorld()


def test_a_game_is_scored_as_it_goes_and_keeps_its_verdict(world: ScienceWorld) -> None:
    game = world.open("find-plant/151")
    assert game.split == "dev"
    assert game.task == "Your task is to do find-plant 151."
    assert game.reset() == "Your task is to do find-plant 151.\nYou look around."
    scores = [(game.step(action), game.score, game.done)[1:] for action in PATH]
    assert scores == [(0.0, False), (0.33, False), (0.67, False), (1.0, True)]
    assert game.won
    last = game.step("focus on air")
    assert (last, game.won, game.score) == ("You move table to red box.", True, 1.0)
    game.reset()
    assert (game.won, game.done, game.score) == (False, False, 0.0)


def test_what_spoils_the_task_ends_it_and_counts_nothing(world: ScienceWorld) -> None:
    spoilt = attempt(world, "find-plant/1", ScriptedTeacher(["go to kitchen", "focus on air", "look around"]), {}, 9)
    assert (spoilt.end, spoilt.score, spoilt.won, len(spoilt.steps)) == ("lost", 0.0, False, 2)
    assert world.cause(spoilt) == environment.WRONG_FOCUS


def test_a_part_of_the_way_is_kept(world: ScienceWorld) -> None:
    part = attempt(world, "find-plant/1", ScriptedTeacher(PATH[:2]), {}, 9)
    assert (part.score, part.won) == (0.33, False)
    assert world.cause(part) == environment.NO_FOCUS
    assert world.cause(attempt(world, "find-plant/1", ScriptedTeacher([]), {}, 9)) == environment.NOTHING_REACHED


def test_simulators_are_used_again_by_whoever_comes_next(world: ScienceWorld) -> None:
    for number in range(5):
        attempt(world, f"find-plant/{number}", ScriptedTeacher(PATH[: number % 3 + 2]), {}, 9)
        gc.collect()
    assert MadeUp.started == 1
    side_by_side = [world.open(f"find-plant/{number}") for number in range(3)]
    assert len({game.reset() for game in side_by_side}) == 3
    assert MadeUp.started == 3


def test_a_simulator_that_dies_takes_one_game_with_it(world: ScienceWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    other = world.open("find-plant/2")
    other.reset()
    monkeypatch.setattr(MadeUp, "dies_at", "focus on table")
    broken = attempt(world, "find-plant/1", ScriptedTeacher(PATH), {}, 9)
    assert (broken.end, broken.score, len(broken.steps)) == ("environment", 0.33, 3)
    assert "ended in mid-game" in broken.steps[-1].observation
    monkeypatch.setattr(MadeUp, "dies_at", "")
    assert [other.step(action) for action in PATH][-1] == "You move table to red box."
    assert attempt(world, "find-plant/1", ScriptedTeacher(PATH), {}, 9).won


def test_gold_paths_are_for_training_games_and_read_as_one_could_know(world: ScienceWorld) -> None:
    best, as_it_is = solutions_of(world)("find-plant/3")
    assert best == ["go to kitchen", "look around", "focus on table", "move table to red box"]
    assert as_it_is == PATH
    for game in ("find-plant/150", "find-plant/299"):
        with pytest.raises(UsageError, match="gold paths are for training games"):
            world.solutions(game)


def test_a_path_looks_once_in_every_place_it_stays_in() -> None:
    assert readable(["go to hallway", "open door to kitchen", "go to kitchen", "look around", "wait1"]) == [
        "go to hallway", "go to kitchen", "look around", "wait1",
    ]  # fmt: skip
    assert readable(["go to outside"]) == ["go to outside"]


def test_what_is_missing_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find_spec = simulator.importlib.util.find_spec
    monkeypatch.setattr(simulator.importlib.util, "find_spec", lambda name: name != "scienceworld" or None)
    with pytest.raises(UsageError, match="package scienceworld is not installed") as told:
        ScienceWorld().open("boil/0")
    assert "pip install 'duomem-mlx[scienceworld]'" in str(told.value.fix)
    monkeypatch.setattr(simulator.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for home in ("", str(tmp_path)):
        monkeypatch.setenv("JAVA_HOME", home)
        with pytest.raises(UsageError, match="needs Java, and there is none here"):
            ScienceWorld().open("boil/0")
    assert find_spec("json")


def test_it_is_found_by_name() -> None:
    assert find_environment("duomem_mlx.scienceworld.environment:scienceworld").name == "scienceworld"
