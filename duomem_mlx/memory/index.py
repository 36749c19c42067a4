"""Exact nearest rows by cosine: a float32 product finds the candidates, float64 decides between them."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]

_BATCH_SCORES = 1 << 20  # scores held at a time, 4 MiB
_EXACT_ROWS = 1024  # rows decided at a time, 3 MiB at 384 dimensions
_STREAM_BYTES = 8 << 20  # beyond the cache a row-by-row sum reads memory twice as fast as BLAS's sgemv


def nearest(vectors: Floats, queries: Floats, k: int) -> list[Found]:
    """For each query the rows with the k highest cosines, best first, and all that tie with the k-th.

    vectors: float32 [N, D], queries: float32 [Q, D], both of unit rows. Returns per query (rows int64 [M], cosines
    float64 [M]) with M >= min(k, N); rows of equal cosine stand in the order of the matrix. The cosine of a row is
    the same float64 number wherever the row stands and however many queries are asked at once.
    """
    count, dimensions = vectors.shape
    k = min(k, count)
    if k <= 0:
        return [(np.empty(0, np.int64), np.empty(0, np.float64)) for _ in queries]
    # Two float32 sums of D products of unit rows are each off by at most D * 2**-24 (Higham, Accuracy and Stability
    # of Numerical Algorithms, 3.1); rows are unit to 1e-3, hence 1.01.
    margin = 2.02 * dimensions * 2.0**-24
    if len(queries) == 1:
        scores = _product(vectors, queries[0])
        floor = _kth_at_least(scores, k) - margin
        return [_decide(vectors, queries[0], (scores >= floor).nonzero()[0], k)]
    return _nearest_of_many(vectors, queries, k, margin)


def _product(vectors: Floats, query: Floats) -> Floats:
    """float32 [N]"""
    if vectors.nbytes > _STREAM_BYTES:
        scores: Floats = np.einsum("ij,j->i", vectors, query)
        return scores
    return vectors @ query


def _kth_at_least(scores: Floats, k: int) -> float:
    """A lower bound of the k-th highest score: the k-th highest of the maxima of disjoint groups."""
    groups = max(4 * k, 128)
    if len(scores) >= 4 * groups:
        size = len(scores) // groups
        scores = np.maximum.reduce(scores[: size * groups].reshape(size, groups), axis=0)
    else:
        scores = scores.copy()
    scores.partition(len(scores) - k)
    return float(scores[len(scores) - k])


def _nearest_of_many(vectors: Floats, queries: Floats, k: int, margin: float) -> list[Found]:
    rows = max(4 * k, 1024, _BATCH_SCORES // len(queries))
    floors = np.full(len(queries), -np.inf, np.float32)
    kept: list[list[npt.NDArray[np.int64]]] = [[] for _ in queries]
    for start in range(0, len(vectors), rows):
        block = queries @ vectors[start : start + rows].T  # (Q, rows)
        for i, scores in enumerate(block):
            if len(scores) >= k:
                floors[i] = max(floors[i], _kth_at_least(scores, k) - margin)
            kept[i].append((scores >= floors[i]).nonzero()[0] + start)
    return [_decide(vectors, query, np.concatenate(parts), k) for query, parts in zip(queries, kept, strict=True)]


def _decide(vectors: Floats, query: Floats, candidates: npt.NDArray[np.int64], k: int) -> Found:
    exact = query.astype(np.float64)
    if len(candidates) <= _EXACT_ROWS:
        cosines = _exact(vectors, candidates, exact)
    else:
        parts = range(0, len(candidates), _EXACT_ROWS)
        cosines = np.concatenate([_exact(vectors, candidates[i : i + _EXACT_ROWS], exact) for i in parts])
    order = (-cosines).argsort(kind="stable")
    cosines = cosines[order]
    end = k
    if len(cosines) > k and cosines[k] == cosines[k - 1]:
        end = int(np.searchsorted(-cosines, -cosines[k - 1], side="right"))
    return candidates[order[:end]], cosines[:end]


def _exact(vectors: Floats, rows: npt.NDArray[np.int64], query: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # A sum along each row, not a BLAS product: its rounding does not depend on where the row stands.
    cosines: npt.NDArray[np.float64] = np.add.reduce(vectors.take(rows, axis=0) * query, axis=1)
    return cosines


def unit(rows: Any, dimensions: int) -> Floats:
    """What an encoder gave, as float32 [N, D], C-contiguous.

    Raises ValueError, with the reason, when it is not a finite matrix of unit rows (to 1e-3) of that width.
    """
    vectors = np.ascontiguousarray(rows, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dimensions:
        raise ValueError(f"shape {list(vectors.shape)} where [N, {dimensions}] was expected")
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    if not np.isfinite(lengths).all():
        raise ValueError("some numbers are not finite")
    if len(lengths) and float(np.abs(lengths - 1).max()) > 2e-3:
        raise ValueError("some rows are not of unit length")
    return vectors
