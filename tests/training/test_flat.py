import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.optimizers import AdamW

from duomem_mlx.training.flat import Flat

SHAPES = {"b.lora_a": (3, 4), "a.lora_b": (4, 2), "a.m": (5,), "c": (1, 1)}
DTYPES = {"b.lora_a": mx.float32, "a.lora_b": mx.float32, "a.m": mx.bfloat16, "c": mx.bfloat16}


def drawn(seed: int) -> dict[str, mx.array]:
    keys = mx.random.split(mx.random.key(seed), len(SHAPES))
    return {
        name: mx.random.normal(shape, key=key).astype(DTYPES[name])
        for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)
    }


@given(names=st.permutations(list(SHAPES)), seed=st.integers(0, 1000))
def test_what_is_joined_comes_apart_again_whatever_the_order(names, seed):
    arrays = drawn(seed)
    shuffled = {name: arrays[name] for name in names}
    flat = Flat(arrays)
    vectors = flat.joined(shuffled)
    assert {name: (v.dtype, v.shape) for name, v in vectors.items()} == {
        "float32": (mx.float32, (20,)),
        "bfloat16": (mx.bfloat16, (6,)),
    }
    assert all(mx.array_equal(vectors[name], other) for name, other in Flat(shuffled).joined(arrays).items())
    found = flat.parted(vectors)
    assert found.keys() == arrays.keys()
    assert all(found[name].dtype == arrays[name].dtype for name in arrays)
    assert all(mx.array_equal(found[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_optimizer_gives_the_same_numbers_as_on_the_arrays_by_name(decay):
    weights = drawn(0)
    flat = Flat(weights)
    named, joined = (AdamW(0.01, weight_decay=decay, bias_correction=True) for _ in range(2))
    by_name, vectors = dict(weights), flat.joined(weights)
    for seed in range(1, 6):
        gradients = drawn(seed)
        by_name = named.apply_gradients(gradients, by_name)
        vectors = joined.apply_gradients(flat.joined(gradients), vectors)
    found = flat.parted(vectors)
    assert all(mx.array_equal(found[name], by_name[name]) for name in by_name)
