from typing import Any

import mlx.core as mx
import pytest

from duomem_mlx.student.beginnings import LEAST, MOST, Beginnings
from duomem_mlx.student.feeding import make_feeder
from tests.training import made

SYSTEM = [3 + i % 50 for i in range(2 * LEAST)]
STARTS = [[*SYSTEM, 70 + i, 80, 90 + i] for i in range(4)]
FULL, HYBRID = "llama tied", "qwen3_next (hybrid)"


class Counted:
    """A feeder that notes how many tokens it was fed."""

    def __init__(self, family: str = FULL) -> None:
        self.inner: Any = make_feeder(made.model(family))
        self.fed: list[int] = []

    def fresh(self) -> list[Any]:
        return list(self.inner.fresh())

    def logits(self, caches: Any, chunks: Any) -> mx.array:
        self.fed.extend(map(len, chunks))
        found: mx.array = self.inner.logits(caches, chunks)
        mx.eval(found)
        return found


def lengths(lent: list[tuple[list[Any], int]]) -> list[int]:
    return [length for _, length in lent]


def says_the_same(feeder: Counted, start: list[int], cache: list[Any], length: int) -> bool:
    """What comes after the start, fed to a cache that holds its first tokens, beside the whole of it to a fresh one."""
    found = feeder.inner.logits([cache], [start[length:]])
    return bool(mx.allclose(found, feeder.inner.logits([feeder.fresh()], [start]), rtol=1e-4, atol=1e-4).item())


@pytest.mark.parametrize("family", [*made.FAMILIES, *made.OTHER_CACHES])
def test_what_starts_share_is_fed_once_and_nobody_writes_to_it(family: str) -> None:
    feeder = Counted(family)
    beginnings = Beginnings(feeder)
    for starts in (STARTS[:2], STARTS[2:], STARTS[:1]):  # what others wrote after it is not in it
        lent = beginnings.lend(starts)
        assert lengths(lent) == [len(SYSTEM)] * len(starts)
        assert all(says_the_same(feeder, start, *one) for start, one in zip(starts, lent, strict=True))
    assert feeder.fed == [len(SYSTEM)]


@pytest.mark.parametrize("family", [FULL, HYBRID])
def test_games_that_come_one_at_a_time_share_from_the_second_on(family: str) -> None:
    feeder = Counted(family)
    beginnings = Beginnings(feeder)
    assert [lengths(beginnings.lend([start])) for start in STARTS[:3]] == [[0], [len(SYSTEM)], [len(SYSTEM)]]
    assert feeder.fed == [len(SYSTEM)]


@pytest.mark.parametrize("family", [FULL, HYBRID])
def test_a_start_that_is_a_beginning_itself_keeps_a_token_to_feed(family: str) -> None:
    assert lengths(Beginnings(Counted(family)).lend([SYSTEM, SYSTEM])) == [len(SYSTEM) - 1] * 2


def test_a_few_tokens_are_not_worth_a_pass() -> None:
    feeder = Counted()
    few = [[1] * LEAST, [*[1] * (LEAST - 1), 2, 3]]
    assert lengths(Beginnings(feeder).lend(few)) == [0, 0]
    assert feeder.fed == []


@pytest.mark.parametrize("family", [FULL, HYBRID])
def test_a_longer_beginning_takes_the_place_of_a_shorter_one(family: str) -> None:
    feeder = Counted(family)
    beginnings = Beginnings(feeder)
    beginnings.lend(STARTS)
    longer = [[*SYSTEM, *SYSTEM, number] for number in (7, 8)]
    assert lengths(beginnings.lend(longer)) == [2 * len(SYSTEM)] * 2
    assert feeder.fed == [len(SYSTEM)] * 2  # the rest of the longer one alone


def test_a_cache_that_can_be_cut_serves_shorter_beginnings_too() -> None:
    longer = [[*SYSTEM, *SYSTEM, number] for number in (7, 8)]
    for family, of_use in ((FULL, len(SYSTEM)), (HYBRID, 0)):
        feeder = Counted(family)
        beginnings = Beginnings(feeder)
        beginnings.lend(longer)
        beginnings.lend([[5] * 4])  # so that the next one has nothing in common with the one before
        ((cache, length),) = beginnings.lend(STARTS[:1])
        assert length == of_use
        assert says_the_same(feeder, STARTS[0], cache, length)
        assert feeder.fed == [2 * len(SYSTEM)]


@pytest.mark.parametrize("family", [FULL, HYBRID])
def test_no_more_is_computed_than_without_it(family: str) -> None:
    """Pairs that share nothing with each other, whichever way they come."""
    pairs = [[pair] * 40 + [60 + one, 3] for one in range(2) for pair in range(4)]
    feeder = Counted(family)
    lent = Beginnings(feeder).lend(pairs)
    assert lengths(lent) == [40] * 8
    assert feeder.fed == [40] * 4


def test_what_is_kept_is_bounded() -> None:
    feeder = Counted()
    long = [[n % 200 for n in range(MOST + 100)] + [end] for end in (1, 2)]
    assert lengths(Beginnings(feeder).lend(long)) == [MOST] * 2
