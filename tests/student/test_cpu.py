import ctypes
import os
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn

from duomem_mlx.student import cpu

on_cpu = pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="MLX's device here is not the CPU")


def gradients(function, *inputs):
    weight = mx.random.normal(function(*inputs).shape, key=mx.random.key(9))
    found = mx.grad(lambda *xs: (function(*xs) * weight).sum(), argnums=list(range(len(inputs))))(*inputs)
    return [found] if isinstance(found, mx.array) else found


def assert_near(found, wanted, tolerance=1e-5):
    for a, b in zip(found, wanted, strict=True):
        assert mx.abs(a - b).max().item() <= tolerance * max(1, mx.abs(b).max().item())


def test_powers_of_two():
    t = np.linspace(-126, 126, 400_001).astype(np.float32)
    found = np.array(cpu.exp2(mx.array(t)), np.float64)
    assert np.abs(found / 2.0 ** t.astype(np.float64) - 1).max() < 3e-7
    low = np.array(cpu.exp2(mx.array([-127.0, -1e30, -np.inf])))
    assert ((low >= 0) & (low < 2e-38)).all()
    assert np.isnan(np.array(cpu.exp2(mx.array([np.nan])))).all()


def test_silu():
    x = mx.concatenate([mx.linspace(-200, 200, 4001), mx.random.normal((1000,))])
    assert_near([cpu.silu(x)], [nn.silu(x)])
    assert_near(gradients(cpu.silu, x), gradients(nn.silu, x))


def test_logsumexp():
    x = mx.random.normal((7, 501)) * 20
    assert_near([cpu.logsumexp(x)], [mx.logsumexp(x, axis=-1)])
    assert_near(gradients(cpu.logsumexp, x), gradients(lambda x: mx.logsumexp(x, axis=-1), x))


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 300])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
def test_attention(length, heads, groups):
    mx.random.seed(length)
    queries = mx.random.normal((2, heads, length, 16)) * 3
    keys, values = mx.random.normal((2, 2, groups, length, 16)) * 3

    def wanted(q, k, v):
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=0.25, mask="causal")

    def found(q, k, v):
        return cpu.causal_attention(q, k, v, 0.25)

    assert_near([found(queries, keys, values)], [wanted(queries, keys, values)])
    assert_near(gradients(found, queries, keys, values), gradients(wanted, queries, keys, values), 2e-5)


@on_cpu
@pytest.mark.parametrize(("new", "length"), [(2, 2), (5, 40), (128, 130), (129, 300), (300, 300)])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2)])
def test_attention_of_what_comes_last(new, length, heads, groups):
    mx.random.seed(new)
    queries = mx.random.normal((2, heads, new, 16)) * 3
    keys, values = mx.random.normal((2, 2, groups, length + 7, 16))[..., :length, :] * 3
    wanted = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.25, mask="causal")
    assert_near([cpu.later_attention(queries, keys, values, 0.25)], [wanted])


def fail(before):
    with cpu.quick():
        assert nn.silu is not before[1]
        raise ZeroDivisionError


@on_cpu
def test_what_is_replaced_comes_back_even_after_an_error():
    before = mx.fast.scaled_dot_product_attention, nn.silu, mx.logsumexp
    limit = mx.set_cache_limit(123 << 20)
    with pytest.raises(ZeroDivisionError):
        fail(before)
    assert (mx.fast.scaled_dot_product_attention, nn.silu, mx.logsumexp) == before
    assert mx.set_cache_limit(limit) == 123 << 20


@on_cpu
@pytest.mark.parametrize("mask", [None, "array"])
def test_other_masks_go_the_usual_way(mask):
    x = mx.random.normal((1, 2, 5, 8))
    given = mx.random.normal((5, 5)) if mask else None
    wanted = mx.fast.scaled_dot_product_attention(x, x, x, scale=1.0, mask=given)
    with cpu.quick():
        assert mx.array_equal(mx.fast.scaled_dot_product_attention(x, x, x, scale=1.0, mask=given), wanted)


@on_cpu
def test_half_precision_and_other_axes_go_the_usual_way():
    x = mx.random.normal((4, 6)).astype(mx.float16)
    wanted = nn.silu(x), mx.logsumexp(x, axis=-1), mx.logsumexp(x, axis=0), mx.logsumexp(x)
    with cpu.quick():
        found = nn.silu(x), mx.logsumexp(x, axis=-1), mx.logsumexp(x, axis=0), mx.logsumexp(x)
    assert all(mx.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_lanes_need_a_blas_of_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cpu.lanes(8) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert 1 <= cpu.lanes(8) <= 8
    assert cpu.lanes(1) == 1


HOLES = """
import sys
import mlx.core as mx
from duomem_mlx.student import cpu, machine

how, elements = sys.argv[1], int(sys.argv[2])
mx.set_cache_limit(0)
if how == "given back":
    cpu.give_back_freed_memory()


def many():
    return [mx.full((elements,), float(i + 1)) for i in range(320 * 2**20 // 4 // elements)]


first = many()
mx.eval(first)
first.clear()  # glibc learns that such blocks come and go
held = many()
mx.eval(held)
full = machine.resident_bytes()
del held[::2]
if how == "trimmed":
    cpu.trim_heap()
print((full - machine.resident_bytes()) / 2**20)
"""


@on_cpu
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="of glibc")
def test_freed_memory_goes_back_to_the_system():
    """Half of 320 MB, in holes between blocks that stay."""

    def returned(how, elements):
        call = [sys.executable, "-c", HOLES, how, str(elements)]
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
        return float(subprocess.run(call, check=True, capture_output=True, text=True, env=usual).stdout)

    large, small = 2 << 20, 16 << 10
    assert returned("given back", large) > 150
    assert returned("left to itself", large) < 80
    assert returned("trimmed", small) > 100
    assert returned("given back", small) < 80
