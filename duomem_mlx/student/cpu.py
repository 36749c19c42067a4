"""Quicker forms, for the CPU only, of what MLX's CPU backend computes slowly; on a GPU nothing is replaced.

There `exp` takes 12 to 20 ns an element and `where` 7, a product or a sum under 0.4 (MLX 0.32.4, x86-64 wheel), so
that softmax and silu take as long as the matrix products of a small model. Powers of two by polynomial, causal
attention that leaves out the masked half, and a backward pass of its own for either give the same numbers to rounding
(the tests say how near).
"""

import ctypes
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import mlx.core as mx
from mlx import nn

BLOCK = 128  # queries that share one matrix product; keys behind the block's last are left out
VOCABULARIES = 8  # rows of scores that are exponentiated at a time: two fifths less memory at its peak than all at once
CACHE_BYTES = 256 << 20  # freed buffers kept for reuse; more gains nothing, and MLX's 32 MiB costs some 3%
M_MMAP_THRESHOLD = -3  # malloc.h
GIVEN_BACK = 1 << 20  # bytes

# 2^f on [-1/2, 1/2], relative error below 2e-7: weighted least squares at Chebyshev points.
EXP2 = (1.00000007, 0.69314695, 0.24022121, 0.05550743, 0.00967547, 0.0013267)
TO_INTEGER = 1.5 * 2.0**23  # added, it leaves the nearest integer in a float32's lowest bits
LOG2_E = math.log2(math.e)
LOWEST, HIGHEST = -126.0, 126.0  # 2^t stays a normal float32
MASKED = -1e30


def lanes(most: int) -> int:
    """Rows computed at the same time, at most `most`: one a core where the BLAS keeps to one thread
    (OMP_NUM_THREADS=1), else one. Two threads within a product gain less, and nothing where it is no product."""
    if mx.default_device().type != mx.cpu or os.environ.get("OMP_NUM_THREADS") != "1":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, most))


def give_back_freed_memory() -> None:
    """From now on, in this process, glibc gives large freed blocks back to the system at once. Left to itself it comes
    to keep blocks of up to 32 MB: a training run that held 3.9 GB in arrays had grown to 6 GB."""
    _glibc("mallopt", M_MMAP_THRESHOLD, GIVEN_BACK)


def trim_heap() -> None:
    """What glibc holds free right now, between blocks in use too; some 10 ms. Without it sixteen games together on two
    cores, a thread each that keeps free blocks of its own, held 1,326 MB after ten games and 1,553 after 200."""
    _glibc("malloc_trim", 0)


def _glibc(name: str, *numbers: int) -> None:
    """Nothing where arrays are a GPU's or the C library is another one."""
    if sys.platform == "linux" and mx.default_device().type == mx.cpu:
        function = getattr(ctypes.CDLL(None), name, None)
        if function is not None:
            function(*numbers)


@contextmanager
def quick() -> Iterator[None]:
    """Within it, models of mlx-lm use the quicker forms, forwards and backwards, where the CPU is the device. It may be
    entered again within itself, and by several threads."""
    if mx.default_device().type != mx.cpu:
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


class _Swapped:
    """What the quicker forms stand in for while somebody needs them."""

    lock = threading.Lock()
    users = 0
    slow: tuple[Any, ...] = ()
    cache_limit = 0


def _enter() -> None:
    with _Swapped.lock:
        _Swapped.users += 1
        if _Swapped.users == 1:
            mx.disable_compile()  # compiled, an activation would call a C++ compiler and pass these by
            _Swapped.slow = tuple(getattr(space, name) for space, name in _PLACES)
            _Swapped.cache_limit = mx.set_cache_limit(CACHE_BYTES)
            forms = (_attention_or_slow, _silu_or_slow, _logsumexp_or_slow)
            for (space, name), function in zip(_PLACES, forms, strict=True):
                setattr(space, name, function)


def _leave() -> None:
    with _Swapped.lock:
        _Swapped.users -= 1
        if _Swapped.users == 0:
            for (space, name), function in zip(_PLACES, _Swapped.slow, strict=True):
                setattr(space, name, function)
            mx.set_cache_limit(_Swapped.cache_limit)


_FAST: Any = mx.fast
_PLACES: tuple[tuple[Any, str], ...] = ((_FAST, "scaled_dot_product_attention"), (nn, "silu"), (mx, "logsumexp"))


def _attention_or_slow(queries: mx.array, keys: mx.array, values: mx.array, **options: Any) -> mx.array:
    plain = {key for key, value in options.items() if value is not None} == {"scale", "mask"}
    if plain and queries.dtype == mx.float32 and isinstance(options["mask"], str) and options["mask"] == "causal":
        whole = queries.shape[-2] == keys.shape[-2]
        return (causal_attention if whole else later_attention)(queries, keys, values, options["scale"])
    found: mx.array = _Swapped.slow[0](queries, keys, values, **options)
    return found


def _silu_or_slow(x: mx.array) -> mx.array:
    form: Any = silu if x.dtype == mx.float32 else _Swapped.slow[1]
    found: mx.array = form(x)
    return found


def _logsumexp_or_slow(x: mx.array, axis: Any = None, keepdims: bool = False, **options: Any) -> mx.array:
    if axis == -1 and x.dtype == mx.float32 and not keepdims and not options:
        return logsumexp(x)
    found: mx.array = _Swapped.slow[2](x, axis=axis, keepdims=keepdims, **options)
    return found


def exp2(t: mx.array) -> mx.array:
    """2^t of float32 numbers up to 126; below -126 it stays at 2^-126."""
    t = mx.maximum(t, LOWEST)
    shifted = t + TO_INTEGER
    fraction = t - (shifted - TO_INTEGER)
    power = EXP2[-1] * fraction + EXP2[-2]
    for factor in EXP2[-3::-1]:
        power = power * fraction + factor
    return (power.view(mx.int32) + (shifted.view(mx.int32) << 23)).view(mx.float32)


def silu(x: mx.array) -> mx.array:
    """x · sigmoid(x), float32."""
    y: Any = _silu(x)
    found: mx.array = y
    return found


@mx.custom_function
def _silu(x: mx.array) -> mx.array:
    return x * sigmoid(x)


@_silu.vjp
def _silu_vjp(x: mx.array, cotangent: mx.array, y: mx.array) -> mx.array:
    s = sigmoid(x)  # computed again: kept, it would be an eighth of what a row of training takes
    return cotangent * (s + y * (1 - s))


def sigmoid(x: mx.array) -> mx.array:
    """On a GPU, and of other numbers than float32, MLX's own."""
    if mx.default_device().type != mx.cpu or x.dtype != mx.float32:
        return mx.sigmoid(x)
    return 1 / (1 + exp2(mx.minimum(x * -LOG2_E, HIGHEST)))


def logsumexp(x: mx.array) -> mx.array:
    """log of the sum of e^x over the last axis, float32."""
    found: Any = _logsumexp(x.reshape(-1, x.shape[-1]))
    y: mx.array = found[0].reshape(x.shape[:-1])
    return y


@mx.custom_function
def _logsumexp(x: mx.array) -> tuple[mx.array, ...]:
    """x [N, V] -> the result [N], the sums of the powers [N, 1], and the powers, some rows at a time: one row of a
    vocabulary is long, and each step of `exp2` is an array of its own."""
    logs, sums, powers = [], [], []
    for begin in range(0, x.shape[0], VOCABULARIES):
        part = x[begin : begin + VOCABULARIES]
        highest = part.max(-1, keepdims=True)
        powers.append(exp2((part - highest) * LOG2_E))
        sums.append(powers[-1].sum(-1, keepdims=True))
        logs.append((mx.log(sums[-1]) + highest)[:, 0])
    return (mx.concatenate(logs), mx.concatenate(sums), *powers)


@_logsumexp.vjp
def _logsumexp_vjp(x: mx.array, cotangents: Any, outputs: Any) -> mx.array:
    _, sums, *powers = outputs
    factors = cotangents[0][:, None] / sums
    return mx.concatenate([p * factors[i * VOCABULARIES :][: p.shape[0]] for i, p in enumerate(powers)])


def causal_attention(queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
    """softmax(scale · Q Kᵀ, causal) V, float32. queries [B, H, T, D], keys and values [B, G, T, D] with H a multiple
    of G; gives [B, H, T, D]."""
    y: mx.array = _attention(scale)(queries, keys, values)[0]
    return y


def later_attention(queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
    """The same for queries that come last, where nothing is differentiated: queries [B, H, N, D], keys and values
    [B, G, T, D] with N of T at most."""
    new, before = queries.shape[2], keys.shape[2] - queries.shape[2]
    scaled = _grouped(queries * (scale * LOG2_E), keys.shape[1])
    found = []
    for begin, end in _blocks(new):
        seen = before + end
        scores = _rows(scaled, begin, end) @ keys[:, :, :seen].swapaxes(-1, -2)
        scores = scores.reshape(*scaled.shape[:3], end - begin, seen) + _mask(before + begin, seen)
        powers = exp2(scores - scores.max(-1, keepdims=True))
        share = (powers / powers.sum(-1, keepdims=True)).reshape(*keys.shape[:2], -1, seen)
        found.append((share @ values[:, :, :seen]).reshape(*queries.shape[:2], end - begin, -1))
    return mx.concatenate(found, axis=2) if len(found) > 1 else found[0]


@cache
def _attention(scale: float) -> Any:
    """The function for one scale, with its own backward pass. Beside the result it gives, for each query, log2 of the
    sum of its powers [B, G, heads of a group, T, 1]: out of these the backward pass makes the probabilities again,
    which kept would grow with the square of the length."""

    @mx.custom_function
    def attend(queries: mx.array, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        scaled = _grouped(queries * (scale * LOG2_E), keys.shape[1])
        found, logs = [], []
        for begin, end in _blocks(queries.shape[2]):
            scores = _scores(scaled, keys, begin, end)
            highest = scores.max(-1, keepdims=True)
            powers = exp2(scores - highest)
            sums = powers.sum(-1, keepdims=True)
            logs.append(highest + mx.log2(sums))
            share = (powers / sums).reshape(*keys.shape[:2], -1, end)
            block = (share @ values[:, :, :end]).reshape(*queries.shape[:2], end - begin, -1)
            found.append(block.swapaxes(1, 2))
        # Laid out token by token, as the layer after it reads it: nothing is kept twice.
        return mx.concatenate(found, axis=1).swapaxes(1, 2), mx.concatenate(logs, axis=3)

    @attend.vjp
    def attend_vjp(primals: Any, cotangents: Any, outputs: Any) -> tuple[mx.array, mx.array, mx.array]:
        queries, keys, values = primals
        result, logs = outputs
        groups, length = keys.shape[1], keys.shape[2]
        scaled = _grouped(queries * (scale * LOG2_E), groups)
        given = _grouped(cotangents[0], groups)
        # The row sums of P · dP, from the narrow side: sum over the features of dO · O.
        along = _grouped((cotangents[0] * result).sum(-1, keepdims=True), groups)
        d_queries: list[mx.array] = []
        d_keys, d_values = mx.zeros_like(keys), mx.zeros_like(values)
        for begin, end in _blocks(length):
            share = exp2(_scores(scaled, keys, begin, end) - logs[:, :, :, begin:end])
            share = share.reshape(*keys.shape[:2], -1, end)
            d_block = _rows(given, begin, end)
            d_scores = share * (d_block @ values[:, :, :end].swapaxes(-1, -2) - _rows(along, begin, end))
            d_queries.append((d_scores @ keys[:, :, :end]).reshape(*scaled.shape[:3], end - begin, -1))
            behind = [(0, 0), (0, 0), (0, length - end), (0, 0)]
            d_keys = d_keys + mx.pad(d_scores.swapaxes(-1, -2) @ _rows(scaled, begin, end), behind)
            d_values = d_values + mx.pad(share.swapaxes(-1, -2) @ d_block, behind)
        return mx.concatenate(d_queries, axis=3).reshape(queries.shape) * scale, d_keys / LOG2_E, d_values

    return attend


def _scores(scaled: mx.array, keys: mx.array, begin: int, end: int) -> mx.array:
    """Of the queries begin to end, in powers of two: [B, G, heads of a group, end - begin, end]."""
    scores = _rows(scaled, begin, end) @ keys[:, :, :end].swapaxes(-1, -2)
    return scores.reshape(*scaled.shape[:3], end - begin, end) + _mask(begin, end)


def _blocks(length: int) -> list[tuple[int, int]]:
    return [(begin, min(begin + BLOCK, length)) for begin in range(0, length, BLOCK)]


def _grouped(x: mx.array, groups: int) -> mx.array:
    """[B, H, T, D] -> [B, G, H / G, T, D]: the heads that share keys, together."""
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def _rows(x: mx.array, begin: int, end: int) -> mx.array:
    """[B, G, R, T, D] -> [B, G, R · (end - begin), D]."""
    return x[:, :, :, begin:end].reshape(*x.shape[:2], -1, x.shape[-1])


def _mask(begin: int, end: int) -> mx.array:
    """What is added to the scores of queries begin to end for keys 0 to end."""
    triangle = mx.triu(mx.full((end - begin, end - begin), MASKED), k=1)
    return mx.concatenate([mx.zeros((end - begin, begin)), triangle], axis=-1) if begin else triangle
