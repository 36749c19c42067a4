"""A world's own teacher that does not do what one should, in a game that is kept all the same."""

from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.errors import UsageError
from duomem_mlx.own_teacher import teacher_of
from duomem_mlx.teachers.attempts import attempts_in
from duomem_mlx.teachers.record import attempt
from duomem_mlx.trajectory import read_trajectories
from tests.teachers.corridor import Corridors, Unteachable, Walker


def fail(*_: object) -> Any:
    raise KeyError("plan")


def teaching(**odd: Any) -> Corridors:
    class Odd(Corridors):
        def teacher(self) -> Walker:
            walker = Walker()
            for name, value in odd.items():
                setattr(walker, name, value)
            return walker

    return Odd()


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        ({"begin": fail}, "The world's `teacher` raised KeyError: 'plan'."),
        ({"act": fail}, "The world's `teacher` raised KeyError: 'plan'."),
        ({"observe": fail}, "The world's `teacher` raised KeyError: 'plan'."),
        ({"act": lambda: 3}, "The world's `teacher` gave int where a text belongs."),
        ({"act": lambda: b"walk"}, "The world's `teacher` gave bytes where a text belongs."),
        ({"act": lambda: "walk\udce9"}, "The world's `teacher` gave bytes that are no text."),
        ({"thought": 3}, "The world's `teacher` gave int where a text belongs."),
        ({"tokens": {"in": float("nan"), "out": 1}}, "The world's `teacher` has tokens that are none: "),
        ({"replayed_seconds": "long"}, "The world's `teacher` has replayed_seconds that are none: 'long'."),
        ({"act": lambda: None, "gave_up_for": "tea"}, "The world's `teacher` has gave_up_for that are none: 'tea'."),
    ],
)
def test_its_game_says_so_and_what_is_kept_can_be_read(odd: Any, sentence: str, tmp_path: Path) -> None:
    world = teaching(**odd)
    played = attempt(world, "train/3", teacher_of(world), {"kind": "search"}, 30)
    assert (played.end, played.won) == ("environment", False)
    assert played.steps[-1].observation.startswith(sentence)
    with attempts_in(tmp_path) as attempts:
        attempts.add(played)
    assert list(read_trajectories(tmp_path / "failures.jsonl")) == [played]


def test_one_that_cannot_be_made_says_so_in_every_game() -> None:
    world = Corridors()
    world.teacher = fail  # type: ignore[method-assign]
    for game in ("train/1", "train/2"):
        played = attempt(world, game, teacher_of(world), {"kind": "search"}, 30)
        assert (played.end, played.steps[-1].observation) == (
            "environment",
            "The world's `teacher` raised KeyError: 'plan'.",
        )


def test_a_sound_one_is_handed_through() -> None:
    world = teaching(thought="on", tokens={"in": 3, "out": 1.0}, replayed_seconds=2)
    played = attempt(world, "train/3", teacher_of(world), {"kind": "search"}, 30)
    assert played.won
    assert {step.thought for step in played.steps} == {"on"}
    assert played.tokens == {"in": 3, "out": 1}
    assert played.seconds >= 2


def test_there_must_be_one() -> None:
    with pytest.raises(UsageError, match="has no teacher of its own"):
        teacher_of(Unteachable())
    with pytest.raises(UsageError, match="knows one way only"):
        teacher_of(Corridors(), 3)
