"""What a look at an environment finds."""

import itertools
import re
from typing import Any

import pytest

from duomem_mlx.doctor.checks import ABSENT, FAIL, OK, WARN
from duomem_mlx.doctor.world import examine_world
from duomem_mlx.example_world import Chest, TaughtChests


def found(world: Any, splits: list[str] | None = None) -> dict[str, Any]:
    return {check.name: check for check in examine_world(world, ["train", "test"] if splits is None else splits, 2)}


def with_game(**odd: Any) -> Any:
    class Odd(TaughtChests):
        def open(self, task_id: str) -> Chest:
            return type("Game", (Chest,), odd)(task_id)  # type: ignore[no-any-return]

    return Odd()


def test_a_sound_world_is_played_twice_and_said_to_be_sound() -> None:
    checks = found(TaughtChests())
    games = [check for name, check in checks.items() if "/" in name]
    assert [(check.status, check.found) for check in games] == [
        (OK, "won after 2 actions, score 1; the same twice")
    ] * 4
    assert checks["train"].found == "40 games"
    assert {check.status for check in checks.values()} == {OK, ABSENT}
    assert "teacher" not in checks
    assert checks["refused"].status == ABSENT


COUNTER = itertools.count()


@pytest.mark.parametrize(
    ("odd", "status", "said"),
    [
        ({"reset": lambda self: f"Room {next(COUNTER)}."}, FAIL, "`done`|verdict"),
        ({"step": lambda self, action: None}, FAIL, "`step` gave nothing"),
        ({"step": lambda self, action: 1 / 0}, FAIL, "ZeroDivisionError"),
        ({"step": lambda self, action: f"Step {next(COUNTER)}."}, WARN, "another outcome"),
        ({"id": property(lambda self: "me", lambda self, value: None)}, WARN, "calls itself 'me'"),
        ({"score": property(lambda self: 0.5, lambda self, value: None)}, WARN, "`score` is not 1"),
    ],
)
def test_what_is_wrong_with_a_game_is_told(odd: Any, status: str, said: str) -> None:
    games = [check for name, check in found(with_game(**odd)).items() if "/" in name]
    assert games
    assert all(check.status == status and re.search(said, check.found) for check in games)


def test_a_world_that_opens_otherwise_each_time_is_told() -> None:
    class Moody(Chest):
        def reset(self) -> str:
            return f"{super().reset()} It is {next(COUNTER)} o'clock."

    class World(TaughtChests):
        def open(self, task_id: str) -> Chest:
            return Moody(task_id)

    games = [check for name, check in found(World()).items() if "/" in name]
    assert {check.found for check in games} == {"It opens with another text the second time."}


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a", "a"], "1 ids stand there twice"),
        ([], "holds no games"),
        ([3], "is no text"),
        (["../x"], "begins with a dot"),
        (["a\nb"], "not one line"),
        (["x" * 300], "longer than 200 bytes"),
        (None, "cannot list 'train'"),
    ],
)
def test_what_is_wrong_with_the_tasks_is_told_and_nothing_is_played(ids: Any, said: str) -> None:
    class World(TaughtChests):
        def tasks(self, split: str) -> list[str]:
            return ids  # type: ignore[no-any-return]

        def open(self, task_id: str) -> Chest:
            raise AssertionError("played")

    check = found(World(), ["train"])["train"]
    assert check.status == FAIL
    assert said in check.found


def test_games_of_two_splits_words_that_are_none_and_no_split_are_told() -> None:
    class Same(TaughtChests):
        instructions = ""

        def tasks(self, split: str) -> list[str]:
            return ["one", "two"]

    assert found(Same())["instructions"].status == FAIL
    Same.instructions = "Act."
    assert found(Same())["apart"].found == "2 games are in train and in test."
    assert found(TaughtChests(), [])["splits"].status == FAIL


@pytest.mark.parametrize("name", ["kind", "place", "refused", "shorten", "general", "describe", "normalise", "seen"])
def test_what_it_says_wrong_of_a_game_is_told(name: str) -> None:
    world = TaughtChests()
    setattr(world, name, lambda _: 1 / 0)
    games = [check for of, check in found(world, ["train"]).items() if of.startswith("train/")]
    assert {check.status for check in games} == {FAIL}
    assert all(f"`{name}` raised ZeroDivisionError" in check.found for check in games)
