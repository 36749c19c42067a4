"""Gradients of several micro-batches at once: one thread and one MLX stream a lane, the same numbers whatever their
number and whoever finishes first."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from duomem_mlx.student.heads import Logits
from duomem_mlx.training.loss import batch_of, summed_loss
from duomem_mlx.training.rows import Row


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

    def __init__(self, model: Any, logits: Logits, count: int) -> None:
        self._model = model
        self._logits = logits
        self._building = threading.Lock()
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def gradients(self, weights: Any, groups: Sequence[Sequence[Row]], seeds: Sequence[int]) -> Iterator[Part]:
        """Loss and gradients of every group of rows, in their order. `weights`: the trainable parameters, a tree;
        `seeds`: of the randomness (dropout) of each group."""
        differentiated = mx.value_and_grad(self._loss)

        def compute(rows: Sequence[Row], seed: int) -> Part:
            with self._building:  # building changes the model for a moment; computing does not
                mx.random.seed(seed)
                with self._restored(weights):
                    loss, gradients = differentiated(weights, *batch_of(rows))
            found = dict(tree_flatten(gradients))
            mx.eval(loss, found)
            return Part(number(loss), found)

        return self._map(compute, groups, seeds)

    def losses(self, weights: Any, groups: Sequence[Sequence[Row]]) -> Iterator[Part]:
        """The loss alone of every group of rows, in their order, without dropout."""

        def compute(rows: Sequence[Row]) -> Part:
            with self._building, self._restored(weights):
                self._model.eval()
                loss = self._loss(weights, *batch_of(rows))
                self._model.train()
            mx.eval(loss)
            return Part(number(loss), {})

        return self._map(compute, groups)

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
