"""Caches found again, against a model that reads everything."""

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem_mlx.student.feeding import make_feeder, token_bytes
from duomem_mlx.student.serve.kept import Kept
from tests.student import tiny
from tests.training import made

LINES = st.lists(st.integers(0, 2), min_size=1, max_size=12)


def common(one: list[int], other: list[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@settings(max_examples=40)
@given(texts=st.lists(LINES, min_size=1, max_size=6), asked=LINES)
def test_the_longest_common_beginning_is_found(texts: list[list[int]], asked: list[int]) -> None:
    feeder, kept = FEEDER, Kept(64, 1 << 30)
    for text in texts:
        cache = feeder.fresh()
        mx.eval(feeder.logits([cache], [text]))
        kept.keep(text, cache)
    cache, found = kept.find(asked)
    assert found == min(len(asked) - 1, max(common(text, asked) for text in texts))
    wanted = MODEL(mx.array([asked]))[:, -1]
    logits = feeder.logits([cache or feeder.fresh()], [asked[found:]])
    assert mx.allclose(logits, wanted, atol=1e-3).item()


MODEL = tiny.model()
FEEDER = make_feeder(MODEL)


@pytest.mark.parametrize("family", ["llama tied", "gemma3"])
def test_a_copy_leaves_what_was_kept_as_it_was(family: str) -> None:
    model = made.model(family)
    feeder, kept, text = make_feeder(model), Kept(64, 1 << 30), [5, 4, 3, 2, 1]
    cache = feeder.fresh()
    mx.eval(feeder.logits([cache], [text]))
    kept.keep(text, cache)
    for ending in ([9, 9, 9], [8], [7, 7]):
        copy, found = kept.find([*text, *ending])
        assert copy is not None
        assert found == 5
        wanted = model(mx.array([[*text, *ending]]))[:, -1]
        assert mx.allclose(feeder.logits([copy], [ending]), wanted, atol=1e-3).item()


def test_the_oldest_goes_when_there_are_too_many_or_they_are_too_large() -> None:
    def filled(kept: Kept) -> Kept:
        for number in range(10):
            cache = FEEDER.fresh()
            mx.eval(FEEDER.logits([cache], [[number] * 3]))
            kept.keep([number] * 3, cache)
        return kept

    few = filled(Kept(4, 1 << 30))
    assert len(few) == 4
    assert few.find([0, 0, 0, 1]) == (None, 0)
    assert few.find([9, 9, 9, 1])[1] == 3
    each = few.nbytes // 4
    small = filled(Kept(64, 3 * each))
    assert small.nbytes <= 3 * each
    assert small.find([9, 9, 9, 1])[1] == 3
    assert len(filled(Kept(64, each - 1))) == 0


def test_what_a_token_takes_is_measured() -> None:
    assert token_bytes(FEEDER) == 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, features, float32
