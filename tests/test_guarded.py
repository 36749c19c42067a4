"""What a world may do wrong, one sentence each."""

from types import SimpleNamespace
from typing import Any

import pytest

from duomem_mlx.guarded import guarded, open_game
from duomem_mlx.offers import MOST_CHARACTERS, WorldBroke
from tests.teachers.corridor import Corridor, Corridors


def game(**odd: Any) -> Any:
    made = Corridor("train/3")
    made.resets = 0  # type: ignore[attr-defined]
    plain = made.reset

    def reset() -> str:
        made.resets += 1  # type: ignore[attr-defined]
        return plain()

    made.reset = reset  # type: ignore[method-assign]
    for name, value in odd.items():
        setattr(made, name, value)
    return made


def fail(error: BaseException) -> Any:
    def do(*_: Any) -> Any:
        raise error

    return do


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda _: None, "`step` gave nothing where a text belongs."),
        (lambda _: b"\xff\xfe", "`step` gave bytes where a text belongs."),
        (lambda _: b"caf\xe9".decode(errors="surrogateescape"), "`step` gave bytes that are no text."),
        (lambda _: "x" * (MOST_CHARACTERS + 1), "`step` gave 1,000,001 characters, over 1,000,000."),
        (lambda _: ("a room", 0.0, False, False, {}), "`step` gave tuple where a text belongs."),
        (fail(ValueError("no such thing\nin line 3")), "`step` raised ValueError: no such thing."),
        (fail(SystemExit(3)), "`step` raised SystemExit: 3."),
        (fail(RecursionError()), "`step` raised RecursionError."),
    ],
)
def test_whatever_a_step_does_is_one_sentence_and_the_game_is_over(answer: Any, sentence: str) -> None:
    played = guarded(game(step=answer))
    played.reset()
    for _ in range(2):  # the second time by itself
        with pytest.raises(WorldBroke) as told:
            played.step("walk")
        assert str(told.value) == f"The world broke the game off: {sentence}"
    assert (played.done, played.won, played.score) == (True, False, 0.0)


@pytest.mark.parametrize("answer", [lambda: None, lambda: b"", lambda: 3, fail(OSError("no Java")), fail(SystemExit())])
def test_so_is_whatever_a_reset_does(answer: Any) -> None:
    played = guarded(game(reset=answer))
    with pytest.raises(WorldBroke, match="broke the game off: `reset`"):
        played.reset()
    assert played.done


@pytest.mark.parametrize(("name", "value"), [("done", None), ("won", "yes"), ("score", 7), ("score", "high")])
def test_a_verdict_that_is_none_ends_the_game_with_the_last_score(name: str, value: Any) -> None:
    world = SimpleNamespace(id="a", split="train", task="walk", done=False, won=False, score=0.5)
    world.reset = lambda: "a room"
    world.step = lambda action: setattr(world, name, value) or "a step"
    played = guarded(world)
    played.reset()
    with pytest.raises(WorldBroke, match=r"broke the game off: its `?(verdict|done|won|score)"):
        played.step("walk")
    assert (played.done, played.won, played.score) == (True, False, 0.5)


def test_a_game_that_cannot_be_opened_says_so_when_it_is_begun() -> None:
    world = Corridors()
    for error, sentence in ((KeyError("train/3"), "opening the game raised KeyError"), (SystemExit(), "SystemExit")):
        world.open = fail(error)  # type: ignore[method-assign]
        played = open_game(world, "train/3")
        assert (played.id, played.done) == ("train/3", True)
        with pytest.raises(WorldBroke, match=sentence):
            played.reset()
    world.open = lambda task_id: SimpleNamespace(id=task_id, reset=print)  # type: ignore[assignment, method-assign, return-value]
    with pytest.raises(WorldBroke, match="The game lacks split, task, step"):
        open_game(world, "train/3").reset()


def test_a_game_that_is_begun_is_not_begun_again_before_something_is_done() -> None:
    inner = game()
    played = guarded(inner)
    assert guarded(played) is played
    assert played.reset() == played.reset()
    assert inner.resets == 1
    played.step("walk")
    assert (inner.at, played.reset()) == (1, "You are in a corridor. Your task is to: walk 4 steps.")
    assert (inner.resets, inner.at) == (2, 0)
    assert played.length == 4  # type: ignore[attr-defined]
    played.reset()
    assert inner.resets == 3  # what else a game offers may have changed it


def test_what_a_game_says_well_is_handed_on() -> None:
    played = guarded(game())
    played.reset()
    assert [played.step("walk") for _ in range(4)][-1] == "You are 4 steps in."
    assert (played.done, played.won, played.score) == (True, True, 1.0)


def test_ctrl_c_is_the_users() -> None:
    played = guarded(game(step=fail(KeyboardInterrupt())))
    played.reset()
    with pytest.raises(KeyboardInterrupt):
        played.step("walk")


def test_a_verdict_that_cannot_be_asked_is_told() -> None:
    import numpy as np

    class Several(Corridor):
        done = np.array([True, False])

    played = guarded(Several("train/3"))
    with pytest.raises(WorldBroke, match="its `done` raised ValueError"):
        played.reset()
    assert (played.done, played.won) == (True, False)
