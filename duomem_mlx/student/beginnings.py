"""What the starts of games have in common, a system text say, goes through the model once."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import zip_longest
from threading import Lock
from typing import Any

import mlx.core as mx

from duomem_mlx.student import cpu
from duomem_mlx.student.feeding import Feeder

LEAST = 32  # tokens that are worth a pass of their own
MOST = 2048  # tokens that are kept: what one pass takes


class Beginnings:
    """The one beginning that was found last: a cache of at most MOST tokens, and nobody writes to it. Where a model's
    caches cannot be cut, it is of use to starts that have all of it. Several threads may ask at once."""

    def __init__(self, feeder: Feeder) -> None:
        self._feeder = feeder
        self._lock = Lock()
        self._before: Sequence[int] = ()  # the start asked about last
        self._tokens: Sequence[int] = ()
        self._cache: list[Any] = []  # holds exactly them

    def lend(self, starts: Sequence[Sequence[int]]) -> list[tuple[list[Any], int]]:
        """For each start a cache of its own that holds its first tokens, and how many: never all, since a model that is
        fed nothing says nothing. Where there is none, one that holds nothing."""
        lent: dict[int, tuple[list[Any], int]] = {}
        with self._lock:
            # In order, neighbours have most in common; and each takes its share before another beginning comes, so
            # that no token is computed that the start it was found in would not have needed.
            order = sorted(range(len(starts)), key=lambda number: list(starts[number]))
            for number, following in zip_longest(order, order[1:]):
                start = starts[number]
                beside = () if following is None else starts[following]
                useful = start[: min(len(start) - 1, MOST)]
                shared = max(_shared(self._before, useful), _shared(beside, useful))
                if shared >= self._of_use(useful) + LEAST:
                    self._hold(useful[:shared])
                lent[number] = self._lent(useful)
                self._before = start
        return [lent[number] for number in range(len(starts))]

    def _hold(self, tokens: Sequence[int]) -> None:
        cache, held = self._lent(tokens)
        with cpu.quick():
            mx.eval(self._feeder.logits([cache], [tokens[held:]]), [getattr(layer, "state", ()) for layer in cache])
        self._tokens, self._cache = tokens, cache

    def _lent(self, tokens: Sequence[int]) -> tuple[list[Any], int]:
        """A copy: arrays are shared until one of the two is written to."""
        from mlx_lm.models.cache import trim_prompt_cache

        if not (length := self._of_use(tokens)):
            return self._feeder.fresh(), 0
        cache = deepcopy(self._cache)
        if length < len(self._tokens):
            trim_prompt_cache(cache, len(self._tokens) - length)
        return cache, length

    def _of_use(self, tokens: Sequence[int]) -> int:
        """How many of the kept tokens these begin with, if the cache can be cut to them."""
        from mlx_lm.models.cache import can_trim_prompt_cache

        shared = _shared(self._tokens, tokens)
        whole = shared == len(self._tokens)
        return shared if shared >= LEAST and (whole or can_trim_prompt_cache(self._cache)) else 0


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
