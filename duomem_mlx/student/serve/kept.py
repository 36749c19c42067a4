"""Caches of earlier requests, found again by the longest beginning that a new one has in common with them."""

from collections.abc import Sequence
from typing import Any

_MODEL = "student"  # mlx-lm keeps the caches of several models in one place


class Kept:
    """At most `most` caches and `most_bytes` of them; the one that was kept longest ago goes first."""

    def __init__(self, most: int, most_bytes: int) -> None:
        from mlx_lm.models.cache import LRUPromptCache

        self._caches = LRUPromptCache(most, most_bytes)

    @property
    def nbytes(self) -> int:
        return int(self._caches.nbytes)

    def __len__(self) -> int:
        return len(self._caches)

    def find(self, tokens: Sequence[int]) -> tuple[list[Any] | None, int]:
        """A copy of a cache that holds the first of these tokens, and how many: never all, since a model that is fed
        nothing says nothing. None and 0 where there is none."""
        from mlx_lm.models.cache import can_trim_prompt_cache, trim_prompt_cache

        cache, rest = self._caches.fetch_nearest_cache(_MODEL, list(tokens))
        if cache is None:
            return None, 0
        if not rest:
            if not can_trim_prompt_cache(cache):
                return None, 0
            trim_prompt_cache(cache, 1)
            rest = tokens[-1:]
        found = len(tokens) - len(rest)
        return (cache, found) if found else (None, 0)

    def keep(self, tokens: Sequence[int], cache: list[Any]) -> None:
        """`cache` holds exactly `tokens`."""
        if tokens:
            self._caches.insert_cache(_MODEL, list(tokens), cache)
