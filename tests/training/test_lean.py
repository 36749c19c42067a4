"""What else these forms promise; `test_loss.py` asks for their numbers in every family, since lanes use them."""

from contextlib import nullcontext

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models import llama
from mlx_lm.tuner.lora import LoRALinear

from duomem_mlx.student import cpu
from duomem_mlx.training.lean import lean
from duomem_mlx.training.lora import add_lora
from tests.training import made

WIDE = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 24}
PLACES = ((mx.fast, "rms_norm"), (LoRALinear, "__call__"), (llama, "swiglu"))


def ready(dropout=0.0, targets=(), **shape):
    """A llama whose B is not zero."""
    model = llama.Model(llama.ModelArgs.from_dict({**made.COMMON, "model_type": "llama", **shape}))
    add_lora(model, 4, 2.0, dropout, targets, -1, 0)
    mx.random.seed(1)
    for _, module in model.named_modules():
        if "lora_b" in module:
            module.lora_b = mx.random.normal(module.lora_b.shape) * 0.1
    model.train()
    mx.eval(model.parameters())
    return model


def gradients(model, forms, tokens=40):
    """The gradients by name, and the most that computing them took, in bytes."""
    ids = mx.arange(tokens)[None]
    weights = model.trainable_parameters()

    def loss(weights):
        mx.random.seed(2)  # dropout's
        model.update(weights)
        return model(ids).square().sum()

    with forms:
        found = mx.grad(loss)(weights)
    model.update(weights)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(found)
    return dict(tree_flatten(found)), mx.get_peak_memory() - before


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert mx.abs(found[name] - gradient).max() <= 1e-5 * mx.abs(gradient).max(), name


def test_a_third_less_is_kept():
    model = ready(**WIDE)
    with cpu.quick():
        wanted, plainly = gradients(model, nullcontext(), 256)
        found, leanly = gradients(model, lean(model), 256)
    assert_same(found, wanted)
    assert leanly < 0.75 * plainly


@pytest.mark.parametrize("targets", [("q_proj", "down_proj"), ("o_proj",), ("gate_proj",)])
def test_layers_without_lora_are_left_as_they_are(targets):
    model = ready(targets=targets)
    assert_same(gradients(model, lean(model))[0], gradients(model, nullcontext())[0])


def test_dropout_is_drawn_as_before():
    model = ready(dropout=0.3)
    wanted, _ = gradients(model, nullcontext())
    assert_same(gradients(model, lean(model))[0], wanted)
    without, _ = gradients(ready(), nullcontext())
    assert any(mx.abs(without[name] - gradient).max() > 1e-2 for name, gradient in wanted.items())


def test_half_precision_with_an_adapter_in_float32():
    model = ready()
    model.set_dtype(mx.float16)
    model.update(tree_map(lambda array: array.astype(mx.float32), model.trainable_parameters()))
    wanted, _ = gradients(model, nullcontext())
    found, _ = gradients(model, lean(model))
    for name, gradient in wanted.items():
        assert found[name].dtype == gradient.dtype == mx.float32
        assert mx.abs(found[name] - gradient).max() <= 0.02 * mx.abs(gradient).max(), name


def fail(model, before):
    with lean(model):
        assert mx.fast.rms_norm is not before
        model(mx.arange(3)[None])
        raise ZeroDivisionError


def test_what_is_replaced_comes_back_even_after_an_error():
    model = ready()
    before = [getattr(place, name) for place, name in PLACES]
    with pytest.raises(ZeroDivisionError):
        fail(model, before[0])
    assert [getattr(place, name) for place, name in PLACES] == before
