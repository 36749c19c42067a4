"""Several conversations fed to one model: side by side where it can be fed by rows, else one after the other."""

from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx

from duomem_mlx.student.heads import logits_at
from duomem_mlx.student.ragged import STEP, Row, Rows, fed_by_rows


class Feeder(Protocol):
    """A model and its kind of cache."""

    def fresh(self) -> list[Any]:
        """A cache that holds nothing."""

    def logits(self, caches: Sequence[list[Any]], chunks: Sequence[Sequence[int]]) -> mx.array:
        """[caches, vocabulary] after each chunk; the caches hold the chunks when it is evaluated."""


def make_feeder(model: Any) -> Feeder:
    rows = fed_by_rows(model)
    return ByRows(rows) if rows else OneByOne(model)


def token_bytes(feeder: Feeder) -> int:
    """What a token takes in a cache, found by feeding some."""
    cache = feeder.fresh()
    mx.eval(feeder.logits([cache], [[1] * STEP]))
    return max(1, sum(int(layer.nbytes) for layer in cache) // STEP)


class ByRows:
    """Each cache is one `Row`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def fresh(self) -> list[Any]:
        return [Row()]

    def logits(self, caches: Sequence[list[Any]], chunks: Sequence[Sequence[int]]) -> mx.array:
        return self._rows.logits([cache[0] for cache in caches], chunks)


class OneByOne:
    """Each cache is one of mlx-lm's own."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._logits = logits_at(model)[0]

    def fresh(self) -> list[Any]:
        from mlx_lm.models.cache import make_prompt_cache

        return list(make_prompt_cache(self._model))

    def logits(self, caches: Sequence[list[Any]], chunks: Sequence[Sequence[int]]) -> mx.array:
        found = [
            self._logits(mx.array([chunk]), mx.array([len(chunk) - 1]), cache=cache)
            for cache, chunk in zip(caches, chunks, strict=True)
        ]
        return mx.concatenate(found)
