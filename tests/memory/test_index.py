from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem_mlx.memory import index
from duomem_mlx.memory.index import Floats, nearest, unit


def unit_rows(seed: int, count: int, dimensions: int) -> Floats:
    rows = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_hand(vectors: Floats, query: Floats, k: int) -> list[tuple[int, float]]:
    """The k best and what ties with the k-th, one row at a time."""
    cosines = [float(row.astype(np.float64) @ query.astype(np.float64)) for row in vectors]
    order = sorted(range(len(vectors)), key=lambda row: (-cosines[row], row))
    last = cosines[order[min(k, len(order)) - 1]] if k > 0 and order else 2.0
    return [(row, cosines[row]) for row in order if cosines[row] >= last]


@given(
    seed=st.integers(0, 999),
    count=st.integers(0, 700),
    distinct=st.integers(1, 700),
    k=st.integers(0, 40),
    asked=st.integers(1, 5),
    dimensions=st.sampled_from([1, 3, 32]),
)
@settings(max_examples=200, deadline=None)
def test_it_finds_what_a_look_at_every_row_finds(
    seed: int, count: int, distinct: int, k: int, asked: int, dimensions: int
) -> None:
    copies = np.random.default_rng(seed).integers(0, distinct, count)
    vectors = unit_rows(seed, distinct, dimensions)[copies]
    queries = np.concatenate([unit_rows(seed + 1, asked, dimensions), vectors[:1]])
    together = nearest(vectors, queries, k)
    for query, (rows, cosines) in zip(queries, together, strict=True):
        expected = by_hand(vectors, query, k)
        assert rows.tolist() == [row for row, _ in expected]
        np.testing.assert_allclose(cosines, [cosine for _, cosine in expected], rtol=0, atol=1e-14)
        (alone,) = nearest(vectors, query[None], k)
        np.testing.assert_array_equal(alone[0], rows)
        np.testing.assert_array_equal(alone[1], cosines)


@pytest.mark.parametrize("count", [1000, 30_000])  # the second is beyond the cache and searched in blocks
def test_single_and_batch_agree_to_the_last_bit(count: int) -> None:
    vectors, queries = unit_rows(0, count, 384), unit_rows(1, 64, 384)
    vectors[count // 2 :] = vectors[: count - count // 2]  # every row ties with another
    for query, (rows, cosines) in zip(queries, nearest(vectors, queries, 10), strict=True):
        (alone,) = nearest(vectors, query[None], 10)
        assert rows.tolist() == alone[0].tolist()
        assert cosines.tolist() == alone[1].tolist()
        assert (cosines[:10:2] == cosines[1:10:2]).all()


def test_a_tie_at_the_end_comes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_EXACT_ROWS", 7)
    vectors = np.repeat(unit_rows(0, 3, 16), 50, axis=0)
    ((rows, cosines),) = nearest(vectors, vectors[60:61], 4)
    assert rows.tolist() == list(range(50, 100))
    assert len(set(cosines.tolist())) == 1


def found_by(peer: str, vectors: Floats, queries: Floats) -> tuple[Any, Any]:
    """Rows [Q, 10] and cosines [Q, 10] of another exact search."""
    if peer == "faiss":
        faiss = pytest.importorskip("faiss", reason="faiss-cpu is not installed: pip install -e '.[dev]'")
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        cosines, rows = flat.search(queries, 10)
        return rows, cosines
    usearch = pytest.importorskip("usearch.index", reason="usearch is not installed: pip install -e '.[dev]'")
    found = usearch.search(vectors, queries, 10, usearch.MetricKind.IP, exact=True)
    return found.keys.reshape(-1, 10), 1 - found.distances.reshape(-1, 10)


@pytest.mark.parametrize("peer", ["faiss", "usearch"])
@pytest.mark.parametrize("asked", [1, 64])
@pytest.mark.parametrize("count", [1000, 11_000])
def test_it_finds_what_others_find(count: int, asked: int, peer: str) -> None:
    vectors, queries = unit_rows(2, count, 384), unit_rows(3, asked, 384)
    rows, cosines = found_by(peer, vectors, queries)
    for mine, theirs, their_cosines in zip(nearest(vectors, queries, 10), rows, cosines, strict=True):
        assert mine[0].tolist() == theirs.tolist()
        np.testing.assert_allclose(mine[1], their_cosines, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.zeros((2, 3)), "expected"),
        (np.zeros(4), "expected"),
        (np.full((2, 4), np.nan), "not finite"),
        (np.full((2, 4), np.inf), "not finite"),
        (np.ones((2, 4)), "unit length"),
        (np.zeros((2, 4)), "unit length"),
    ],
)
def test_vectors_that_are_none_are_refused(rows: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        unit(rows, 4)
