"""Gradient checkpointing by block: a backward pass computes a block's forward pass again instead of keeping it.

mlx-lm's `grad_checkpoint` changes a class for good, and dropout drawn a second time would be another one. Here a
block's class is exchanged for a moment, and each block draws its dropout from a seed of its own, so that the gradients
are those without checkpointing, and other models of the class are left alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np


@contextmanager
def blocks(model: Any, seed: int, again: bool) -> Iterator[None]:
    """Within it the blocks of `model` draw their dropout from `seed` and their place; with `again` they are computed
    again by the backward pass. What is built within it may be evaluated later."""
    kinds: list[Any] = [type(block) for block in model.layers]
    try:
        for place, (block, kind) in enumerate(zip(model.layers, kinds, strict=True)):
            object.__setattr__(block, "_own_seed", int(np.random.SeedSequence([seed, place]).generate_state(1)[0]))
            object.__setattr__(block, "__class__", _form(kind, again))
        yield
    finally:
        for block, kind in zip(model.layers, kinds, strict=True):
            object.__setattr__(block, "__class__", kind)
            object.__delattr__(block, "_own_seed")


@cache
def _form(kind: Any, again: bool) -> type:
    def seeded(self: Any, *args: Any, **kwargs: Any) -> Any:
        mx.random.seed(self._own_seed)
        return kind.__call__(self, *args, **kwargs)

    def recomputed(self: Any, *args: Any, **kwargs: Any) -> Any:
        def forward(weights: Any, *args: Any, **kwargs: Any) -> Any:
            self.update(weights)
            return seeded(self, *args, **kwargs)

        checkpointed: Callable[..., Any] = mx.checkpoint(forward)
        return checkpointed(self.trainable_parameters(), *args, **kwargs)

    return type(kind.__name__, (kind,), {"__call__": recomputed if again else seeded})
