from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.environment import find_environment
from duomem_mlx.own_teacher import teacher_of
from duomem_mlx.teachers.imports import (
    BROKEN,
    NO_GAME,
    NO_TASK,
    NOT_WON,
    TWICE,
    GamesAtHand,
    Imported,
    import_transcripts,
)
from duomem_mlx.teachers.record import attempt
from duomem_mlx.trajectory import Trajectory, from_record, to_record
from tests.teachers.corridor import Corridor, Corridors
from tests.teachers.foreign import as_messages, as_react, as_sharegpt, as_tagged, as_tagged_messages, lines
from tests.teachers.fuzz import fuzz_import

WORLD = find_environment("household")
GAMES = tuple(f"generated:{seed}" for seed in range(1, 13))
PLAYED = [attempt(WORLD, game, teacher_of(WORLD), {"kind": "search"}, 30) for game in GAMES]


def imported(tmp_path: Path, content: str, games: Any = GAMES, world: Any = WORLD, **settings: Any) -> Imported:
    file = tmp_path / "theirs"
    file.write_text(content)
    return import_transcripts([file], GamesAtHand(world, games), **settings)


@pytest.mark.parametrize(
    "write",
    [
        lambda: lines([as_messages(t) for t in PLAYED]),
        lambda: lines([as_sharegpt(t) for t in PLAYED]),
        lambda: lines([as_tagged_messages(t) for t in PLAYED]),
        lambda: lines([{"text": as_react(t)} for t in PLAYED]),
        lambda: "".join(as_react(t) for t in PLAYED),
        lambda: "".join(as_tagged(t) for t in PLAYED),
    ],
    ids=["messages", "sharegpt", "tagged messages", "react records", "react text", "tagged text"],
)
def test_whatever_the_format_the_same_games_are_won_again(tmp_path: Path, write: Callable[[], str]) -> None:
    found = imported(tmp_path, write())
    assert not found.left_out
    assert [one.actions for one in found.trajectories] == [one.actions for one in PLAYED]
    for one, played in zip(found.trajectories, PLAYED, strict=True):
        assert (one.game, one.task, one.won, one.opening) == (played.game, played.task, True, played.opening)
        assert [step.observation for step in one.steps] == [step.observation for step in played.steps]
        assert [step.thought for step in one.steps] == [f"Step {n}." for n in range(len(one.steps))]
        assert (one.teacher["kind"], one.teacher["replayed"]) == ("imported", True)
        assert from_record(to_record(one), "it") == one


def test_a_record_that_names_its_game_needs_no_search(tmp_path: Path) -> None:
    records = [as_messages(PLAYED[0], game_file=GAMES[0]), as_sharegpt(PLAYED[1], meta={"error": GAMES[1]})]
    found = imported(tmp_path, lines(records), games=())
    assert [one.game for one in found.trajectories] == list(GAMES[:2])
    assert found.trajectories[0].teacher["model"] == "big"
    nameless = imported(tmp_path, lines([as_messages(PLAYED[0], id="7")]), games=())
    assert nameless.left_out == {NO_GAME: 1}


def test_a_game_is_known_by_the_end_of_its_path() -> None:
    at_hand = GamesAtHand(Corridors(), ["train/room-1/trial_1", "train/room-2/trial_2"])

    def named(name: str) -> list[str]:
        return list(at_hand._named([name]))

    at_hand._opens = lambda task_id: False  # type: ignore[method-assign]
    full = "/home/me/json_2.1.1/train/room-1/trial_1/game.tw-pddl"
    assert named(full) == named("room-1/trial_1") == named("trial_1") == ["train/room-1/trial_1"]
    assert named("elsewhere\\train\\room-2\\trial_2") == ["train/room-2/trial_2"]
    for name in (
        "room-2/trial_1",
        "valid/room-1/trial_1",
        "../train/room-1/trial_1",
        "~/trial_1",
        "a\x00/trial_1",
        "/",
    ):
        assert named(name) == []


def test_only_what_really_wins_is_kept(tmp_path: Path) -> None:
    cut = as_messages(PLAYED[0])
    cut["messages"] = cut["messages"][:-1]
    lost = as_messages(PLAYED[1], won=True, reward=1.0)
    lost["messages"][-1]["content"] = "Action: look"
    found = imported(tmp_path, lines([cut, lost, as_react_record(PLAYED[2]), as_react_record(PLAYED[2])]))
    assert [one.game for one in found.trajectories] == [GAMES[2]]
    assert found.left_out == {NOT_WON: 2, TWICE: 1}
    assert found.came_in == 4


def as_react_record(t: Trajectory) -> dict[str, Any]:
    return {"transcript": as_react(t)}


def test_what_is_done_after_the_game_is_won_is_not_kept(tmp_path: Path) -> None:
    record = as_messages(PLAYED[0])
    record["messages"] += [{"role": "user", "content": "You won."}, {"role": "assistant", "content": "Action: look"}]
    (one,) = imported(tmp_path, lines([record])).trajectories
    assert one.actions == PLAYED[0].actions


def test_a_game_at_hand_is_not_taken_on_trust(tmp_path: Path) -> None:
    lost, nowhere = as_messages(PLAYED[0]), as_messages(PLAYED[1], game="elsewhere/7")
    lost["messages"] = lost["messages"][:3]
    found = imported(tmp_path, lines([lost, nowhere, {"text": "> sit"}]), games=GAMES[:1], unchecked=True)
    assert found.left_out == {NOT_WON: 1, NO_TASK: 1}
    (told,) = found.trajectories
    assert (told.actions, told.task, told.game) == (PLAYED[1].actions, PLAYED[1].task, "elsewhere/7")
    assert told.steps[0].observation == PLAYED[1].steps[0].observation
    assert told.teacher["replayed"] is False
    assert from_record(to_record(told), "it") == told


def test_a_game_of_before_the_new_verb_is_won_in_its_own_words(tmp_path: Path) -> None:
    class Old(Corridors):
        def normalise(self, action: str) -> str:
            return "move" if action == "walk" else action

    record = {"text": "You are in a corridor. Your task is to: walk 2 steps.\n> walk\n.\n> walk\n"}
    (one,) = imported(tmp_path, lines([record]), games=["train/1"], world=Old()).trajectories
    assert one.actions == ("walk", "walk")


def test_a_world_that_breaks_costs_only_its_own_game(tmp_path: Path) -> None:
    class Fragile(Corridors):
        def open(self, task_id: str) -> Any:
            game = super().open(task_id)
            if task_id == "train/1":
                game.step = lambda action: 1 / 0  # type: ignore[method-assign, assignment, return-value]
            return game

    records = [
        {"text": f"You are in a corridor. Your task is to: walk {n} steps.\n" + "> walk\n.\n" * n} for n in (2, 3)
    ]
    found = imported(tmp_path, lines(records), games=["train/1", "train/2"], world=Fragile())
    assert found.left_out == {BROKEN: 1}
    assert [one.game for one in found.trajectories] == ["train/2"]


def test_so_does_one_that_cannot_say_an_action_in_todays_words(tmp_path: Path) -> None:
    class Wordless(Corridors):
        def normalise(self, action: str) -> str:
            return {"walk": "walk"}[action]

    records = [{"text": f"Your task is to: sit.\n> {action}\nYou sit."} for action in ("walk", "sit")]
    found = imported(tmp_path, lines(records), games=[], world=Wordless(), unchecked=True)
    assert found.left_out == {BROKEN: 1}
    assert [one.actions for one in found.trajectories] == [("walk",)]


def test_real_games_are_found_by_task_and_opening(tmp_path: Path, alfworld_data: Path) -> None:
    world = find_environment("household", games_dir=alfworld_data)
    ids = sorted(world.tasks("valid_seen"))
    played = [attempt(world, game, teacher_of(world), {"kind": "search"}, 30) for game in ids[:20]]
    records = [as_sharegpt(t) for t in played]
    records[0]["game_file"] = f"/data/json_2.1.1/{played[0].game}/game.tw-pddl"
    found = imported(tmp_path, lines(records), games=ids, world=world)
    assert {one.actions for one in found.trajectories} >= {one.actions for one in played if one.won}
    assert found.trajectories[0].game == played[0].game


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_files_as_nobody_should_write_them(tmp_path: Path, count: int) -> None:
    outcomes = fuzz_import(count, 1, tmp_path)
    assert sum(outcomes.values()) == count
    assert min(outcomes["kept"], outcomes["left out"]) > count / 20


def test_a_game_that_cannot_be_opened_stops_no_import(tmp_path: Path) -> None:
    class OneGone(Corridors):
        def open(self, task_id: str) -> Any:
            if task_id == "train/gone":
                raise OSError("gone")
            return super().open(task_id)

    at_hand = GamesAtHand(OneGone(), ["train/gone", "train/1"])
    assert [id_ for games in at_hand._look_at_all().values() for id_, _ in games] == ["train/1"]


WALK = '{\n  "do": "walk"\n}'


class Strict(Corridor):
    """Takes JSON of several lines alone."""

    def step(self, action: str) -> str:
        return super().step("walk" if action == WALK else action + "!")


class StrictCorridors(Corridors):
    def open(self, task_id: str) -> Corridor:
        return Strict(task_id)


def walked(said: str) -> str:
    messages = [{"role": "user", "content": Corridor("train/3").reset()}]
    for step in range(1, 5):
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": f"You are {step} steps in."}]
    return lines([{"messages": messages, "id": "train/3"}])


@pytest.mark.parametrize("said", [WALK, f"Action: {WALK}", f"<action>{WALK}</action>"])
def test_actions_of_several_lines_are_played_again_as_they_are(tmp_path: Path, said: str) -> None:
    (found,) = imported(tmp_path, walked(said), games=(), world=StrictCorridors()).trajectories
    assert (found.won, found.actions) == (True, (WALK,) * 4)


def test_of_an_agent_that_says_more_than_its_action_the_first_line_is_tried(tmp_path: Path) -> None:
    (found,) = imported(tmp_path, walked("walk.\nSo I come to the door."), games=(), world=Corridors()).trajectories
    assert (found.won, found.actions) == (True, ("walk",) * 4)
