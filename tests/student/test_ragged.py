"""Rows of different length in one pass, against the plain model."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import mlx.core as mx
import numpy as np
import pytest

from duomem_mlx.student.ragged import STEP, Row, Rows, fed_by_rows
from tests.training import made

FED = [name for name in made.FAMILIES if not name.startswith("gemma")]  # whose windows slide or scores are capped


def tokens(seed, count):
    return np.random.default_rng(seed).integers(0, 258, count).tolist()


@pytest.mark.parametrize("family", made.FAMILIES)
def test_which_models_are_fed_so(family):
    assert (fed_by_rows(made.model(family)) is not None) == (family in FED)


def test_a_model_with_other_caches_is_not():
    model = made.model()
    from mlx_lm.models.cache import RotatingKVCache

    model.make_cache = lambda: [RotatingKVCache(64) for _ in model.layers]
    assert fed_by_rows(model) is None


@pytest.mark.parametrize("family", FED)
def test_uneven_helpings_give_what_the_whole_text_gives(family):
    model = made.model(family)
    fed, lengths = Rows(model), (3, 1, STEP + 5, 40)
    rows, seen = [Row() for _ in lengths], [[] for _ in lengths]
    for turn, who in enumerate([(0, 1, 2, 3), (2, 0), (3,), (1, 3, 0), (2, 1)]):
        chunks = [tokens(10 * turn + i, lengths[(i + turn) % 4]) for i in who]
        found = fed.logits([rows[i] for i in who], chunks)
        for i, chunk in zip(who, chunks, strict=True):
            seen[i] += chunk
        wanted = mx.concatenate([model(mx.array([seen[i]]))[:, -1] for i in who])
        assert mx.abs(found - wanted).max().item() < 1e-3
    assert [row.length for row in rows] == [len(text) for text in seen]


def test_a_copy_that_is_cut_takes_no_more_than_it_holds_and_goes_on_as_before():
    model = made.model()
    fed, long, start = Rows(model), Row(), tokens(1, 2 * STEP + 9)
    mx.eval(fed.logits([long], [start]))
    for length in (2 * STEP, STEP + 1, 7, 0):
        short = deepcopy(long)
        assert short.trim(len(start) - length) == len(start) - length
        assert short.nbytes * 3 == long.nbytes * -(-length // STEP)
        with ThreadPoolExecutor(1) as another:
            said = another.submit(fed.feed, [short], [[5, 6]]).result()
        assert said == mx.argmax(model(mx.array([[*start[:length], 5, 6]]))[:, -1], axis=-1).tolist()
    assert long.length == len(start)


@pytest.mark.parametrize("heads", [1, 3])
def test_what_is_cut_off_is_free_at_once(heads):
    row = Row(16 * STEP, {0: mx.ones((heads, 16 * STEP, 64))}, {0: mx.ones((heads, 16 * STEP, 64))})
    mx.eval(row.keys, row.values)
    before = mx.get_active_memory()
    row.trim(15 * STEP)
    assert before - mx.get_active_memory() == pytest.approx(15 * row.nbytes, rel=0.01)


def test_threads_that_feed_rows_of_their_own_do_not_mix_them_up():
    model = made.model()
    fed = Rows(model)

    def alone(seed):
        row, said = Row(), tokens(seed, 5 + seed % 7)
        for _ in range(12):
            said.append(fed.feed([row], [said[row.length :]])[0])
        return said

    one_by_one = [alone(seed) for seed in range(16)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(alone, range(16))) == one_by_one
