"""Gradients of several micro-batches at once: one thread and one MLX stream a lane, the same numbers whatever their
number and whoever finishes first."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from duomem_mlx.student import cpu
from duomem_mlx.student.heads import Logits, logits_at
from duomem_mlx.training.budget import Means, MicroBatch
from duomem_mlx.training.lean import lean
from duomem_mlx.training.loss import batch_of, summed_loss
from duomem_mlx.training.recompute import blocks


def number(scalar: mx.array) -> float:
    value: Any = scalar.item()
    return float(value)


@dataclass(frozen=True)
class Part:
    """What one micro-batch gives: sums over its supervised tokens by their weights, evaluated."""

    loss: float
    gradients: dict[str, mx.array]  # by the adapter's names; empty where only the loss was asked for


class Lanes:
    """Computes on a model whose adapter's weights are handed in, so that no call leaves a trace in it."""

    def __init__(self, model: Any, logits: Logits, count: int, room: int | None = None) -> None:
        """`count` micro-batches are in the making at once, fewer where they take more than `room` bytes together."""
        self._model = model
        self._logits = logits
        self._building = threading.Lock()
        self._room = _Room(room)
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def gradients(self, weights: Any, batches: Sequence[MicroBatch], seeds: Sequence[int]) -> Iterator[Part]:
        """Loss and gradients of every micro-batch, in their order. `weights`: the trainable parameters, a tree;
        `seeds`: of the randomness (dropout) of each."""
        differentiated = mx.value_and_grad(self._loss)

        def compute(batch: MicroBatch, seed: int) -> Part:
            with self._room.taken(batch.bytes):
                with (
                    self._building,
                    self._restored(weights),
                    lean(self._model),
                    blocks(self._model, seed, batch.again),
                ):
                    # Building changes the model for a moment; computing does not.
                    loss, gradients = differentiated(weights, *batch_of(batch.rows, batch.width))
                found = dict(tree_flatten(gradients))
                mx.eval(loss, found)
                return Part(number(loss), found)

        return self._map(compute, batches, seeds)

    def losses(self, weights: Any, batches: Sequence[MicroBatch]) -> Iterator[Part]:
        """The loss alone of every micro-batch, in their order, without dropout."""

        def compute(batch: MicroBatch) -> Part:
            with self._room.taken(batch.bytes):
                with self._building, self._restored(weights):
                    self._model.eval()
                    loss = self._loss(weights, *batch_of(batch.rows, batch.width))
                    self._model.train()
                mx.eval(loss)
                return Part(number(loss), {})

        return self._map(compute, batches)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _loss(self, weights: Any, *batch: mx.array) -> mx.array:
        self._model.update(weights)
        return summed_loss(self._logits, *batch)

    @contextmanager
    def _restored(self, weights: Any) -> Iterator[None]:
        try:
            yield
        finally:
            self._model.update(weights)

    def _map(self, compute: Callable[..., Part], *over: Iterable[Any]) -> Iterator[Part]:
        return map(compute, *over) if self._pool is None else self._pool.map(compute, *over)


class _Room:
    """Bytes that lanes share; who finds no room waits until there is some, or until everybody else is gone."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, count: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._size is None or self._taken + count <= self._size)
            self._taken += count
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._changed.notify_all()


@contextmanager
def computing(model: Any, means: Means) -> Iterator[Lanes]:
    """Lanes for the model in training mode, within `means` and with what makes this device quick; evaluation mode and
    MLX's own limits afterwards."""
    cpu.give_back_freed_memory()
    logits, _ = logits_at(model)
    model.train()
    with cpu.quick(), nullcontext() if means.cache is None else _caching(means.cache):
        lanes = Lanes(model, logits, means.lanes, means.room)
        try:
            yield lanes
        finally:
            lanes.close()
            model.eval()


@contextmanager
def _caching(most_bytes: int) -> Iterator[None]:
    before = mx.set_cache_limit(most_bytes)
    try:
        yield
    finally:
        mx.set_cache_limit(before)
