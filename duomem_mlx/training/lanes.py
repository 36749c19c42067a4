"""Gradients of several micro-batches at once, the same numbers whatever their number and whoever finishes first: each
lane beside the first is a process of its own where that can be (`forks`), else a thread."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from duomem_mlx.student import cpu
from duomem_mlx.student.heads import Logits, logits_at
from duomem_mlx.training import forks
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


Compute = Callable[[Any, MicroBatch, int | None], Part]  # weights, micro-batch, seed; no seed: the loss alone


class Lanes:
    """Computes on a model whose adapter's weights are handed in, so that no call leaves a trace in it."""

    def __init__(self, model: Any, logits: Logits, count: int, room: int | None = None) -> None:
        """`count` micro-batches are in the making at once, fewer where they take more than `room` bytes together."""
        self._model = model
        self._logits = logits
        self._building = threading.Lock()
        self._room = _Room(room)
        self._weights: forks.Shared | None = None  # for those that are elsewhere
        self._elsewhere: list[_Elsewhere] = []
        if count > 1 and forks.possible():
            # A copy has no thread to compute what the original left undone, so nothing may be.
            mx.eval(model.parameters(), model(mx.zeros((1, 1), mx.int32)))
            like = dict(tree_flatten(model.trainable_parameters()))
            self._weights = forks.Shared(like)
            with suppress(OSError):  # where the system has no room for another process, a thread it is
                while len(self._elsewhere) < count - 1:
                    self._elsewhere.append(_Elsewhere(self._compute, self._weights, forks.Shared(like)))
        here = [self._compute] * (count - len(self._elsewhere))
        self._free: queue.SimpleQueue[Compute] = queue.SimpleQueue()
        for compute in (*here, *(one.compute for one in self._elsewhere)):
            self._free.put(compute)
        self._pool = ThreadPoolExecutor(count) if count > 1 else None
        self.reset_peak()

    def gradients(self, weights: Any, batches: Sequence[MicroBatch], seeds: Sequence[int]) -> Iterator[Part]:
        """Loss and gradients of every micro-batch, in their order. `weights`: the trainable parameters, a tree;
        `seeds`: of the randomness (dropout) of each."""
        return self._map(weights, batches, seeds)

    def losses(self, weights: Any, batches: Sequence[MicroBatch]) -> Iterator[Part]:
        """The loss alone of every micro-batch, in their order, without dropout."""
        return self._map(weights, batches, [None] * len(batches))

    def reset_peak(self) -> None:
        mx.reset_peak_memory()
        for one in self._elsewhere:
            one.fork.peak_bytes = 0

    @property
    def peak_bytes(self) -> int:
        """The most bytes in arrays since `reset_peak`: of all processes that compute, each at its own peak."""
        return mx.get_peak_memory() + sum(one.fork.peak_bytes for one in self._elsewhere)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for one in self._elsewhere:
            one.fork.close()

    def _map(self, weights: Any, batches: Sequence[MicroBatch], seeds: Iterable[int | None]) -> Iterator[Part]:
        if self._weights is not None:
            self._weights.write(dict(tree_flatten(weights)))

        def compute(batch: MicroBatch, seed: int | None) -> Part:
            with self._room.taken(batch.bytes):
                free = self._free.get()
                try:
                    return free(weights, batch, seed)
                finally:
                    self._free.put(free)

        return map(compute, batches, seeds) if self._pool is None else self._pool.map(compute, batches, seeds)

    def _compute(self, weights: Any, batch: MicroBatch, seed: int | None) -> Part:
        # Building changes the model for a moment; computing does not.
        if seed is None:
            with self._building, self._restored(weights):
                self._model.eval()
                loss = self._loss(weights, *batch_of(batch.rows, batch.width))
                self._model.train()
            mx.eval(loss)
            return Part(number(loss), {})
        with self._building, self._restored(weights), lean(self._model), blocks(self._model, seed, batch.again):
            loss, gradients = mx.value_and_grad(self._loss)(weights, *batch_of(batch.rows, batch.width))
        found = dict(tree_flatten(gradients))
        mx.eval(loss, found)
        return Part(number(loss), found)

    def _loss(self, weights: Any, *batch: mx.array) -> mx.array:
        self._model.update(weights)
        return summed_loss(self._logits, *batch)

    @contextmanager
    def _restored(self, weights: Any) -> Iterator[None]:
        try:
            yield
        finally:
            self._model.update(weights)


class _Elsewhere:
    """A lane in a process of its own."""

    def __init__(self, compute: Compute, weights: forks.Shared, gradients: forks.Shared) -> None:
        self._gradients = gradients

        def answer(batch: MicroBatch, seed: int | None) -> float:
            part = compute(tree_unflatten(list(weights.read().items())), batch, seed)
            gradients.write(part.gradients)
            return part.loss

        self.fork = forks.Fork(answer)

    def compute(self, weights: Any, batch: MicroBatch, seed: int | None) -> Part:
        """The weights are there already: `Lanes` has written them."""
        loss = self.fork.ask(batch, seed)
        return Part(loss, {} if seed is None else self._gradients.read())


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
