"""What a model takes, by its files, beside what it takes."""

import json

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache

from duomem_mlx.errors import DuomemError
from duomem_mlx.student.footprint import MOST_WIDTH, Footprint, cache_bytes, footprint, weight_bytes
from duomem_mlx.student.models import load_student
from tests.training import made


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("bits", [None, 4])
def test_weights_are_what_the_loaded_model_holds(bits, dtype, tmp_path):
    folder = made.save_base(tmp_path / "base", bits=bits)
    loaded = load_student(str(folder), dtype=dtype)
    held = sum(array.nbytes for _, array in tree_flatten(loaded.model.parameters()))
    found = footprint(folder, json.loads((folder / "config.json").read_text()), dtype)
    assert found.weights == held
    assert found.bits == bits


@pytest.mark.parametrize("family", made.FAMILIES)
def test_a_tokens_cache_is_never_more_than_is_reckoned(family):
    config = {**made.COMMON, **made.FAMILIES[family]}
    model = made.model(family)
    cache = make_prompt_cache(model)
    tokens = 256  # what mlx-lm's caches grow by
    model(mx.arange(tokens)[None], cache=cache)
    arrays = [array for _, array in tree_flatten([one.state for one in cache]) if isinstance(array, mx.array)]
    held = sum(array.nbytes for array in arrays)
    reckoned = tokens * cache_bytes(config, "float32")
    assert held <= reckoned
    if family.startswith(("llama", "qwen", "phi3", "granite")):
        assert held == reckoned


def test_what_the_configuration_does_not_say_is_not_reckoned():
    assert cache_bytes({"model_type": "mamba", "hidden_size": 64}, "float32") is None


def test_a_torn_file_is_told(tmp_path):
    folder = made.save_base(tmp_path / "base")
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(DuomemError, match="cannot be read"):
        weight_bytes(folder, "float32")


@given(
    ram=st.integers(0, 1 << 40),
    weights=st.integers(0, 1 << 36),
    a_token=st.integers(1, 1 << 20),
    context=st.integers(1, 1 << 17),
)
def test_the_games_that_are_allowed_fit_and_one_more_would_not(ram, weights, a_token, context):
    takes = Footprint("float16", None, weights, a_token, 1 << 20, None)
    width = takes.width(ram, context)
    assert 0 <= width <= MOST_WIDTH
    if width:
        assert takes.of_games(width, context) <= ram
    if width < MOST_WIDTH:
        assert takes.of_games(width + 1, context) > ram


def test_a_model_without_a_growing_cache_plays_as_many_as_there_may_be():
    takes = Footprint("float16", None, 1 << 20, None, 1 << 20, None)
    assert takes.width(1 << 32, 8192) == MOST_WIDTH
    assert takes.width(1 << 20, 8192) == 0
