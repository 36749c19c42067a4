import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.student.models import load_student
from duomem_mlx.student.peft import export
from tests.training import made, runs

KINDS = pytest.mark.parametrize("kind", ["lora", "dora"])
LAYERS = pytest.mark.parametrize("layers", [-1, 1])
UP = "model.layers.1.mlp.up_proj"


def trained(tmp_path, kind, layers):
    base = made.save_base(tmp_path / "base")
    chosen = replace(runs.SETTINGS, fine_tune_type=kind, num_layers=layers, iters=4, learning_rate=0.05)
    runs.run(tmp_path / "run", chosen)
    export(tmp_path / "run", tmp_path / "peft", "some/base")
    return base


@KINDS
@LAYERS
def test_names_shapes_and_numbers_are_pefts(tmp_path, kind, layers):
    """One layer, computed from the written files by PEFT's formula, against MLX's layer."""
    base = trained(tmp_path, kind, layers)
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 8.0)
    assert config["use_dora"] == (kind == "dora")
    assert config["base_model_name_or_path"] == "some/base"
    assert ("mlp.up_proj" if layers == -1 else UP) in config["target_modules"]
    arrays = {k: np.array(v) for k, v in mx.load(str(tmp_path / "peft" / "adapter_model.safetensors")).items()}
    assert all(name.startswith("base_model.model.model.layers.") for name in arrays)
    a, b = (arrays[f"base_model.model.{UP}.lora_{x}.weight"] for x in "AB")
    assert (a.shape, b.shape) == ((4, 32), (64, 4))
    weight = np.array(load_student(str(base)).model.layers[1].mlp.up_proj.weight)
    x = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    changed = weight + config["lora_alpha"] / config["r"] * b @ a
    if kind == "dora":
        magnitude = arrays[f"base_model.model.{UP}.lora_magnitude_vector"]
        changed *= (magnitude / np.linalg.norm(changed, axis=1))[:, None]
    layer = load_student(str(base), tmp_path / "run").model.layers[1].mlp.up_proj
    assert np.abs(np.array(layer(mx.array(x))) - x @ changed.T).max() < 1e-4
    assert np.abs(x @ weight.T - x @ changed.T).max() > 1e-2


@KINDS
@LAYERS
def test_peft_itself_says_the_same(tmp_path, kind, layers):
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    from transformers import LlamaConfig, LlamaForCausalLM

    base = trained(tmp_path, kind, layers)
    weights = {name: torch.tensor(np.array(array)) for name, array in mx.load(str(base / "model.safetensors")).items()}
    theirs = LlamaForCausalLM(LlamaConfig(**{**made.COMMON, "tie_word_embeddings": True}))
    lacking, strange = theirs.load_state_dict(weights, strict=False)
    assert (lacking, strange) == (["lm_head.weight"], [])
    ids = list(range(40))

    def said(model):
        with torch.no_grad():
            return model(torch.tensor([ids])).logits.numpy()

    bare = load_student(str(base)).model(mx.array([ids]))
    assert np.abs(said(theirs) - np.array(bare)).max() < 1e-3
    adapted = peft.PeftModel.from_pretrained(theirs, str(tmp_path / "peft")).eval()
    ours = np.array(load_student(str(base), tmp_path / "run").model(mx.array([ids])))
    assert np.abs(said(adapted) - ours).max() < 1e-3
    assert np.abs(ours - np.array(bare)).max() > 0.1


def handmade(folder, name, shape):
    (folder / "duomem.json").write_text("{}")
    (folder / "adapter_config.json").write_text("{}")
    mx.save_safetensors(str(folder / "adapters.safetensors"), {name: mx.zeros(shape)})


def test_a_torn_adapter_is_one_sentence_and_nothing_is_written(tmp_path):
    handmade(tmp_path, f"{UP}.lora_a", (20, 30))
    with pytest.raises(DuomemError, match="does not describe an adapter"):
        export(tmp_path, tmp_path / "out", None)
    path = tmp_path / "adapters.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DuomemError, match=r"adapters\.safetensors cannot be read"):
        export(tmp_path, tmp_path / "out", None)
    handmade(tmp_path, f"{UP}.weight", (20, 30))
    with pytest.raises(UsageError, match="is no part of a LoRA"):
        export(tmp_path, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_experts_are_refused(tmp_path):
    handmade(tmp_path, "model.layers.0.experts.lora_a", (2, 3, 4))
    with pytest.raises(UsageError, match=r"model\.layers\.0\.experts is a layer of experts"):
        export(tmp_path, tmp_path / "out", None)
