"""Cross entropy at the supervised positions only: no other hidden state passes the head.

The head is the model's own code. A stand-in for the model, whose body hands back the hidden states of the wanted
positions alone, goes through the model's own `__call__`; tied and untied heads, soft caps and scalings therefore need
no case of their own. Whether that holds for a model is tried once on a few tokens, not assumed.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from duomem_mlx.training.rows import Row

BODIES = (("model",), ("language_model", "model"), ("transformer",), ("backbone",), ("language_model", "backbone"))
TRIED_TOKENS = 5

Logits = Callable[[mx.array, mx.array], mx.array]  # ids [B, T], wanted positions of [B · T] -> logits [S, vocabulary]


class _StandIn:
    """Everything of a module, but for one attribute or for what a call gives."""

    def __init__(self, module: Any, name: str | None = None, value: Any = None, call: Any = None) -> None:
        self._module, self._name, self._value, self._call = module, name, value, call

    def __getattr__(self, name: str) -> Any:
        return self._value if name == self._name else getattr(self._module, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._call is not None:
            return self._call(*args, **kwargs)
        return type(self._module).__call__(self, *args, **kwargs)


def logits_at(model: Any) -> tuple[Logits, bool]:
    """A function for the logits at wanted positions, and whether it spares the others.

    Where no way round the full logits is known for this kind of model, they are computed and then picked from.
    """
    for path in BODIES:
        if _spares(model, path):
            return partial(_sparing, model, path), True
    return partial(_all, model), False


def _all(model: Any, ids: mx.array, at: mx.array) -> mx.array:
    logits: mx.array = model(ids)
    return logits.reshape(-1, logits.shape[-1])[at]


def _sparing(model: Any, path: Sequence[str], ids: mx.array, at: mx.array) -> mx.array:
    modules = [model]
    for name in path:
        modules.append(getattr(modules[-1], name))
    body = modules.pop()

    def picked(*args: Any, **kwargs: Any) -> mx.array:
        hidden: mx.array = body(*args, **kwargs)
        return hidden.reshape(1, -1, hidden.shape[-1])[:, at]

    stand = _StandIn(body, call=picked)
    for module, name in zip(reversed(modules), reversed(path), strict=True):
        stand = _StandIn(module, name, stand)
    logits: mx.array = stand(ids)[0]
    return logits


def _spares(model: Any, path: Sequence[str]) -> bool:
    ids = mx.arange(1, 1 + TRIED_TOKENS)[None]
    at = mx.array([1, TRIED_TOKENS - 1])
    wanted = _all(model, ids, at)
    try:
        found = _sparing(model, path, ids, at)
        return found.shape == wanted.shape and bool(mx.allclose(found, wanted, rtol=1e-2, atol=1e-2).item())
    except Exception:  # a model written otherwise fails in its own way
        return False


def batch_of(rows: Sequence[Row]) -> tuple[mx.array, mx.array, mx.array]:
    """(ids int32 [B, T], positions int32 [S] in the flattened [B · T] that predict a supervised token, those tokens
    int32 [S]). Shorter rows are filled up on the right, where nothing is scored and nothing earlier can look."""
    width = max(len(row.tokens) for row in rows) - 1
    ids = np.zeros((len(rows), width), np.int32)
    at, wanted = [], []
    for i, row in enumerate(rows):
        ids[i, : len(row.tokens) - 1] = row.tokens[:-1]
        found = np.flatnonzero(row.trained)
        at.append(i * width + found - 1)
        wanted.append(row.tokens[found])
    return mx.array(ids), mx.array(np.concatenate(at).astype(np.int32)), mx.array(np.concatenate(wanted))


def summed_loss(logits: Logits, ids: mx.array, at: mx.array, wanted: mx.array) -> mx.array:
    """Sum over supervised tokens of -log p, in float32; whoever averages divides by their number."""
    scores = logits(ids, at).astype(mx.float32)
    return (mx.logsumexp(scores, axis=-1) - mx.take_along_axis(scores, wanted[:, None], axis=-1)[:, 0]).sum()
