"""Long texts of a world, cut from the middle, in play as in training."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx import prompt
from duomem_mlx.student.episodes import Entry, PlaySettings, play
from duomem_mlx.student.fitting import CUT, MOST_TOKENS, Fit, fitted
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.training.rows import make_epoch
from duomem_mlx.trajectory import Step
from tests.student import tiny
from tests.training import made

TOKENIZER = tiny.tokenizer()  # a token a byte
LONG = "It begins. " + "é" * 3 * MOST_TOKENS + " It ends."


@given(st.text(), st.integers(0, 60))
def test_what_fits_is_the_two_ends_and_never_more_than_the_room(text: str, room: int) -> None:
    shown = fitted(text, room, lambda part: len(part.encode()))
    assert len(shown.encode()) <= room or not shown
    if shown != text and shown:
        head, _, tail = shown.partition(CUT)
        assert head
        assert text.startswith(head)
        assert text.endswith(tail)


@given(st.text(max_size=MOST_TOKENS // 4))
def test_a_text_that_is_short_enough_is_read_whole(text: str) -> None:
    fit = Fit(TOKENIZER, prompt.unchanged)
    assert (fit(text), fit.cuts(text)) == (text, False)


def test_megabytes_are_cut_at_once_and_what_shortening_saves_is_not_cut() -> None:
    assert len(Fit(TOKENIZER, prompt.unchanged)("x" * 900_000)) <= MOST_TOKENS
    fit = Fit(TOKENIZER, lambda text: text.replace("é", ""))
    assert (fit(LONG), fit.cuts(LONG)) == ("It begins.  It ends.", False)


@pytest.mark.parametrize("style", prompt.STYLES)
def test_training_and_play_read_the_same_and_count_it(style: str) -> None:
    writer = make_writer(TOKENIZER, style, "Act.")
    said = tiny.tokenizer().decode(writer.observation(LONG))
    assert "It begins." in said
    assert "[...]" in said
    assert "It ends." in said
    assert len(writer.observation(LONG)) < MOST_TOKENS + 60
    trajectory = made.trajectory(1)
    long = Step("look", LONG)
    told = type(trajectory)(**{**trajectory.__dict__, "opening": LONG, "steps": (long, *trajectory.steps)})
    epoch = make_epoch([told], writer, max_tokens=8192)
    assert epoch.clipped == 2

    class Wordy(tiny.Echo):
        def reset(self) -> str:
            super().reset()
            return LONG

    student: Any = tiny.TinyStudent(tiny.model(), TOKENIZER)
    settings = PlaySettings(max_steps=2, max_tokens=3, width=1)
    turns = list(play(student, writer, [Entry("a", Wordy("a", 9))], settings))
    assert ["clipped" in turn.flags for turn in turns] == [True, False]
    assert turns[0].observation == LONG
    assert turns[0].tokens_new == len(writer.start(LONG, ()))
