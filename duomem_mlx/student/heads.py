"""Logits at wanted positions only: no other hidden state passes the head.

The head is the model's own code. A stand-in for the model, whose body hands back the hidden states of the wanted
positions alone, goes through the model's own `__call__`; tied and untied heads, soft caps and scalings therefore need
no case of their own. Whether that holds for a model is tried once on a few tokens, not assumed.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mlx.core as mx

BODIES = (("model",), ("language_model", "model"), ("transformer",), ("backbone",), ("language_model", "backbone"))
TRIED_TOKENS = 5

# ids [B, T], wanted positions of [B · T], optionally cache=… as the model itself takes it -> logits [S, vocabulary]
Logits = Callable[..., mx.array]


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


def _all(model: Any, ids: mx.array, at: mx.array, **given: Any) -> mx.array:
    logits: mx.array = model(ids, **given)
    return logits.reshape(-1, logits.shape[-1])[at]


def _sparing(model: Any, path: Sequence[str], ids: mx.array, at: mx.array, **given: Any) -> mx.array:
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
    logits: mx.array = stand(ids, **given)[0]
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
