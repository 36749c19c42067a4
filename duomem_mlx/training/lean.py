"""Backward passes that keep less: what is cheap to compute is computed again where a gradient needs it.

The frozen weights of a LoRA layer have no gradient, so its input is needed for the gradient of the thin matrix A alone.
That input is mostly what a norm gave, or silu(gate) · up. It is made again out of what the norm's own gradient, or the
gate's, keeps anyway: a block of llama's keeps 11 arrays of its width where it kept 19, and takes no longer.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx

from duomem_mlx.student.cpu import sigmoid

_FAST: Any = mx.fast
_GATE = "swiglu"  # silu(gate) · up, by the name that mlx-lm's model files have for it


class _Made:
    """An array that can be made again out of others; with it, what is needed on the way."""

    def __init__(self, make: Callable[..., tuple[mx.array, ...]], *sources: mx.array) -> None:
        self._make, self._sources = make, sources
        self._again: tuple[mx.array, ...] = ()
        self.result: mx.array | None = None  # held, so that no other array has its id

    def again(self, after: mx.array) -> tuple[mx.array, ...]:
        """Made once, the array itself last, and not before `after` is there: else it would be computed early and
        kept."""
        if not self._again:
            self._again = self._make(*mx.depends(list(self._sources), [after]))
        return self._again

    def forget(self) -> None:
        """Hold no array any more."""
        self.result, self._sources, self._again = None, (), ()


@contextmanager
def lean(model: Any) -> Iterator[None]:
    """Within it gradients through `model`'s LoRA layers are built so; what is built may be evaluated later. For one
    thread at a time. Layers of other kinds, and LoRA with dropout, keep what they always kept."""
    from mlx_lm.tuner.lora import LoRALinear

    layer: Any = LoRALinear
    norm, plain = _FAST.rms_norm, layer.__call__
    known: dict[int, _Made] = {}  # by the id of the array

    def noted(made: _Made, result: mx.array) -> mx.array:
        made.result = result
        known[id(result)] = made
        return result

    def rms_norm(x: mx.array, weight: mx.array | None, eps: float, **options: Any) -> mx.array:
        def make(x: mx.array, weight: mx.array | None = None) -> tuple[mx.array]:
            return (norm(x, weight, eps, **options),)

        sources = [x] if weight is None else [x, weight]
        return noted(_Made(make, *sources), make(*sources)[0])

    def gate_like(forward: Any) -> Any:
        def gated(gate: mx.array, up: mx.array) -> mx.array:
            made = _Made(_gated, gate, up)
            return noted(made, _gate(forward, made)(gate, up))

        return gated

    def lora(self: Any, x: mx.array) -> mx.array:
        if self.training and self.dropout._p_1 < 1:
            found: mx.array = plain(self, x)
        else:
            found = _lora(self, known.get(id(x)))(x, self.lora_a, self.lora_b)[0]
        return found

    places = {sys.modules[type(module).__module__] for block in model.layers for module in block.modules()}
    replaced: list[tuple[Any, str, Any]] = [(_FAST, "rms_norm", rms_norm), (layer, "__call__", lora)]
    replaced += [(place, _GATE, gate_like(getattr(place, _GATE))) for place in places if hasattr(place, _GATE)]
    before = [getattr(place, name) for place, name, _ in replaced]
    try:
        for place, name, new in replaced:
            setattr(place, name, new)
        yield
    finally:
        for (place, name, _), old in zip(replaced, before, strict=True):
            setattr(place, name, old)
        for made in known.values():
            made.forget()


def _gated(gate: mx.array, up: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """sigmoid(gate), silu(gate), silu(gate) · up."""
    s = sigmoid(gate)
    y = gate * s
    return s, y, y * up


def _gate(forward: Any, made: _Made) -> Any:
    """`forward`, silu(gate) · up, so that the gradients of gate and up need nothing else."""

    @mx.custom_function
    def gated(gate: mx.array, up: mx.array) -> mx.array:
        product: mx.array = forward(gate, up)
        return product

    @gated.vjp
    def backward(primals: Any, cotangent: mx.array, result: mx.array) -> tuple[mx.array, mx.array]:
        s, y, _ = made.again(cotangent)
        return cotangent * primals[1] * (s + y * (1 - s)), cotangent * y

    return gated


def _lora(layer: Any, made: _Made | None) -> Any:
    """A LoRA layer as a function of its input, A [inputs, rank] and B [rank, outputs], which gives its result and
    scale · x A. For their gradients it needs its input, or what that can be made out of, and scale · x A."""
    base, scale = layer.linear, layer.scale

    @mx.custom_function
    def forward(x: mx.array, a: mx.array, b: mx.array) -> tuple[mx.array, mx.array]:
        thin = scale * (x @ a)
        return base(x) + (thin @ b).astype(x.dtype), thin

    @forward.vjp
    def backward(primals: Any, cotangents: Any, outputs: Any) -> tuple[mx.array, mx.array, mx.array]:
        x, a, b = primals
        given = cotangents[0]
        if made is not None:
            x = made.again(given)[-1]
        d_thin = scale * (given @ b.T)
        d_x = mx.vjp(base, [x], [given])[1][0] + (d_thin @ a.T).astype(x.dtype)
        return d_x, _flat(x).T @ _flat(d_thin), _flat(outputs[1]).T @ _flat(given)

    return forward


def _flat(x: mx.array) -> mx.array:
    """[…, N] -> [M, N]."""
    return x.reshape(-1, x.shape[-1])
