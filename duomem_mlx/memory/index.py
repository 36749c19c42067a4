"""Exact nearest rows by cosine: a float32 product finds the candidates, float64 decides between them."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Exact = npt.NDArray[np.float64]
Found = tuple[Indices, Exact]

MAX_DIMENSIONS = 65536  # no encoder has more; a bank that says so is damaged or hostile

_SCORES = 1 << 20  # held at a time: 4 MiB, and no more than a small part of the vectors
_CACHED_BYTES = 2 << 20
_EXACT_ROWS = 64  # rows decided at a time, half a MiB at 384 dimensions


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
        return [_nearest_to_one(vectors, queries[0], k, margin)]
    step = max(4 * k, 1024, min(_SCORES, vectors.size // 32) // len(queries))
    floors = np.full((len(queries), 1), -np.inf, np.float32)
    asked, rows = list[Indices](), list[Indices]()
    for start in range(0, count, step):
        scores = queries @ vectors[start : start + step].T  # (Q, rows of the block)
        if scores.shape[1] >= k:
            floors = np.maximum(floors, _kth_at_least(scores, k)[:, None] - margin)
        which, row = (scores >= floors).nonzero()
        asked.append(which)
        rows.append(row + start)
    return _decide(vectors, queries, *_joined(asked, rows), k)


def _nearest_to_one(vectors: Floats, query: Floats, k: int, margin: float) -> Found:
    # Beyond the cache a dot product a row reads memory twice as fast as BLAS's product of a matrix with one vector.
    scores: Floats = vectors.dot(query) if vectors.nbytes <= _CACHED_BYTES else _dot_rows(vectors, query)
    rows = (scores >= _kth_at_least(scores, k) - margin).nonzero()[0]
    cosines = _exact(vectors, rows, query.astype(np.float64))
    order = (-cosines).argsort(kind="stable")
    return _first(rows[order], cosines[order], k)


def _dot_rows(rows: Any, others: Any) -> Any:
    """Of rows [M, D] with one vector [D] or their own [M, D]: [M]."""
    if hasattr(np, "vecdot"):
        return np.vecdot(rows, others)
    return np.einsum("ij,j->i" if others.ndim == 1 else "ij,ij->i", rows, others)  # numpy 1


def _kth_at_least(scores: Floats, k: int) -> Any:
    """Lower bounds [...] of the k-th highest of scores [..., N]: the k-th highest of the maxima of disjoint groups."""
    *asked, count = scores.shape
    groups = max(4 * k, 128)
    if count >= 4 * groups:
        size = count // groups
        scores = np.maximum.reduce(scores[..., : size * groups].reshape(*asked, size, groups), axis=-2)
    else:
        scores = scores.copy()
    place = scores.shape[-1] - k
    scores.partition(place, axis=-1)
    return scores[..., place]


def _joined(asked: list[Indices], rows: list[Indices]) -> tuple[Indices, Indices]:
    """Candidates of all blocks: which query, which row, sorted by both."""
    if len(asked) == 1:
        return asked[0], rows[0]
    which = np.concatenate(asked)
    order = which.argsort(kind="stable")
    return which[order], np.concatenate(rows)[order]


def _decide(vectors: Floats, queries: Floats, asked: Indices, rows: Indices, k: int) -> list[Found]:
    cosines = _exact(vectors, rows, queries.astype(np.float64), asked)
    order = np.lexsort((-cosines, asked))  # stable: what ties keeps the order of its rows
    rows, cosines = rows[order], cosines[order]
    ends = np.bincount(asked, minlength=len(queries)).cumsum().tolist()
    return [_first(rows[i:j], cosines[i:j], k) for i, j in zip([0, *ends[:-1]], ends, strict=True)]


def _exact(vectors: Floats, rows: Indices, queries: Exact, asked: Indices | None = None) -> Exact:
    """Cosines [M] of rows [M] and a query [D], or of queries [Q, D] that `asked` [M] names: a sum for each row by
    itself, whose rounding does not depend on where the row stands, as that of a product of matrices does."""
    if len(rows) > _EXACT_ROWS:
        parts = [slice(start, start + _EXACT_ROWS) for start in range(0, len(rows), _EXACT_ROWS)]
        some = (_exact(vectors, rows[p], queries, None if asked is None else asked[p]) for p in parts)
        return np.concatenate(list(some))
    candidates = vectors.take(rows, axis=0).astype(np.float64)
    cosines: Exact = _dot_rows(candidates, queries if asked is None else queries.take(asked, axis=0))
    return cosines


def _first(rows: Indices, cosines: Exact, k: int) -> Found:
    """The first k and what ties with the k-th."""
    end = k
    if len(cosines) > k and cosines[k] == cosines[k - 1]:
        end = int(np.searchsorted(-cosines, -cosines[k - 1], side="right"))
    return rows[:end], cosines[:end]


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
