from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import pytest

from duomem_mlx.student import answering
from duomem_mlx.student.answering import InRounds, Speaker, Together, share
from duomem_mlx.student.decoding import Choice, Decoding
from duomem_mlx.student.ragged import Rows, fed_by_rows
from tests.training import made

MOST = 5
SHARED = [3 + i % 50 for i in range(60)]
STARTS = [[*SHARED, *range(100, 100 + more)] for more in (9, 1, 30, 4)]


def said(answers: Any, speakers: Sequence[Speaker]) -> list[list[int]]:
    left = list(speakers)
    while left:
        for done in answers.advance(left):
            left.remove(done)
    return [speaker.answer for speaker in speakers]


def from_scratch(model: Any, tokens: list[int]) -> list[int]:
    answer: list[int] = []
    while len(answer) < MOST:
        answer.append(int(mx.argmax(model(mx.array([tokens + answer]))[0, -1]).item()))
    return answer


@pytest.mark.parametrize("family", [*made.FAMILIES, *made.OTHER_CACHES])
@pytest.mark.parametrize("width", [1, 2])  # 2: as many as there are heads of keys
def test_starts_that_share_a_beginning_say_the_same_as_alone(family: str, width: int) -> None:
    model = made.model(family)
    rows = fed_by_rows(model)
    answers: Any = Together(rows, (), MOST) if rows else InRounds(model, (), MOST, width)
    groups = [STARTS[at : at + width] for at in range(0, len(STARTS), width)]
    found = [answer for group in groups for answer in said(answers, [Speaker(pending=[*start]) for start in group])]
    assert found == [from_scratch(model, start) for start in STARTS]


def test_a_start_longer_than_a_pass_takes_several(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made.model()
    monkeypatch.setattr(answering, "PASS_TOKENS", 20)
    together = Together(Rows(model), (), MOST)
    passes: list[int] = []
    monkeypatch.setattr(together, "_said", noting(together._said, passes))
    starts = [start[:50] for start in ([*range(90)], [*range(40, 130)])]  # nothing in common
    assert said(together, [Speaker(pending=[*start]) for start in starts]) == [
        from_scratch(model, start) for start in starts
    ]
    assert max(passes) == 20
    assert len(passes) > MOST


@pytest.mark.parametrize("most", [1, 2, MOST])
def test_an_answer_in_the_place_of_one_that_was_cut_is_cut_too(most: int) -> None:
    together = Together(Rows(made.model()), (), most)
    speakers = [
        Speaker(
            pending=[*start],
            choice=Choice(Decoding(avoid_refused=True), (0, place), refused=lambda answer: True),
        )
        for place, start in enumerate(STARTS * 5)
    ]
    assert [len(answer) for answer in said(together, speakers)] == [most] * len(speakers)
    assert all(speaker.choice is not None and speaker.choice.tries for speaker in speakers)


def noting(feed: Any, passes: list[int]) -> Any:
    def noted(speakers: Any, chunks: Any) -> Any:
        passes.append(sum(map(len, chunks)))
        return feed(speakers, chunks)

    return noted


def test_the_shortest_goes_first() -> None:
    speakers = [Speaker(pending=[1] * length) for length in (30, 2, 9)]
    fed, chunks = share(speakers, 15)
    assert [(len(speaker.pending), len(chunk)) for speaker, chunk in zip(fed, chunks, strict=True)] == [
        (2, 2),
        (9, 9),
        (30, 4),
    ]
