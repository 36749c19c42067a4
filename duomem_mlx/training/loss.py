"""Cross entropy at the supervised positions only: no other hidden state passes the head."""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from duomem_mlx.student.heads import Logits
from duomem_mlx.training.rows import Row


def batch_of(rows: Sequence[Row], width: int) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    """(ids int32 [B, width], positions int32 [S] in the flattened ids that predict a supervised token, what is wanted
    there int32 [S], its weight float32 [S]). Rows are filled up on the right, where nothing is scored and nothing
    earlier can look."""
    ids = np.zeros((len(rows), width), np.int32)
    at, wanted, weights = [], [], []
    for i, row in enumerate(rows):
        ids[i, : len(row.tokens) - 1] = row.tokens[:-1]
        found = np.flatnonzero(row.trained)
        at.append(i * width + found - 1)
        wanted.append(row.wanted[found])
        weights.append(np.full(len(found), row.weight, np.float32))
    places = np.concatenate(at).astype(np.int32)
    return mx.array(ids), mx.array(places), mx.array(np.concatenate(wanted)), mx.array(np.concatenate(weights))


def summed_loss(logits: Logits, ids: mx.array, at: mx.array, wanted: mx.array, weights: mx.array) -> mx.array:
    """Sum over supervised tokens of -weight · log p, in float32; whoever averages divides by the weights' sum."""
    scores = logits(ids, at).astype(mx.float32)
    each = mx.logsumexp(scores, axis=-1) - mx.take_along_axis(scores, wanted[:, None], axis=-1)[:, 0]
    return (weights * each).sum()
