import json
from dataclasses import replace

import mlx.core as mx
import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.student.adapters import CONFIG, WEIGHTS, apply
from duomem_mlx.student.models import load_student
from duomem_mlx.training.lora import add_lora, chosen_names, default_rank, linear_names, save_adapter, trainable
from tests.training import made, runs

ALL = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"] + [f"self_attn.{x}_proj" for x in "koqv"]


def test_every_linear_layer_of_a_block_and_nothing_else():
    model = made.model("llama untied")
    assert linear_names(model) == ALL
    assert chosen_names(model, ("q_proj", "mlp.up_proj")) == ["mlp.up_proj", "self_attn.q_proj"]


def test_an_unknown_target_is_named_with_those_that_exist():
    with pytest.raises(UsageError, match=r"'c_attn'.*self_attn\.q_proj"):
        chosen_names(made.model(), ("q_proj", "c_attn"))


def test_a_rank_no_layer_can_have():
    with pytest.raises(UsageError, match="--rank is 33, but a layer it is for has 16 features"):
        add_lora(made.model(), 33, 2.0, 0.0, (), -1, 0)


def test_more_blocks_than_there_are():
    with pytest.raises(UsageError, match="--num-layers is 3, the model has 2"):
        add_lora(made.model(), 4, 2.0, 0.0, (), 3, 0)


@pytest.mark.parametrize(("layers", "blocks"), [(-1, 2), (0, 2), (1, 1), (2, 2)])
@pytest.mark.parametrize("bits", [None, 4])
def test_the_trainable_count_is_what_the_shapes_say(layers, blocks, bits):
    model = made.model()
    made.quantized(model, bits)
    config = add_lora(model, 3, 2.0, 0.0, (), layers, 0)
    a_block = 3 * ((32 + 32) * 2 + (32 + 16) * 2 + (32 + 64) * 3)
    assert sum(array.size for array in trainable(model).values()) == blocks * a_block
    assert config["num_layers"] == blocks
    assert config["lora_parameters"] == {"rank": 3, "scale": 2.0, "dropout": 0.0, "keys": ALL}


def test_the_default_rank_keeps_below_ten_million(monkeypatch):
    model = made.model()
    each = 2 * ((32 + 32) * 2 + (32 + 16) * 2 + (32 + 64) * 3)
    for limit, rank in ((16 * each + 1, 16), (16 * each, 8), (8 * each, 4), (1, 4)):
        monkeypatch.setattr("duomem_mlx.training.lora.MOST_PARAMETERS", limit)
        assert default_rank(model, ALL, -1) == rank


def test_the_first_weights_follow_from_the_seed():
    first, again, other = (made.model() for _ in range(3))
    for model, seed in ((first, 5), (again, 5), (other, 6)):
        add_lora(model, 4, 2.0, 0.0, (), -1, seed)
        mx.random.normal((3,))
    a, b, c = (trainable(model) for model in (first, again, other))
    assert all(mx.array_equal(a[name], b[name]) for name in a)
    assert not all(mx.array_equal(a[name], c[name]) for name in a)


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("bits", [None, 4, 8])
def test_lora_and_dora_on_whole_and_quantized_bases(tmp_path, kind, bits):
    """Training lowers the loss, and the adapter says the same in plain mlx-lm on the same base, and in ours."""
    import mlx_lm

    losses = []
    chosen = replace(runs.SETTINGS, fine_tune_type=kind, iters=12, learning_rate=0.02, dropout=0.0)
    student = runs.run(tmp_path / "run", chosen, lambda now: losses.append(now.loss), bits=bits)
    assert losses[-1] < 0.8 * losses[0]
    base = made.save_base(tmp_path / "base", bits=bits)
    bare, _ = mlx_lm.load(str(base))
    theirs, _ = mlx_lm.load(str(base), adapter_path=str(tmp_path / "run"))
    ours = load_student(str(base), tmp_path / "run").model
    ids = mx.arange(40)[None]
    assert mx.array_equal(theirs(ids), student.model(ids))
    assert mx.array_equal(ours(ids), student.model(ids))
    assert mx.abs(bare(ids) - theirs(ids)).max().item() > 0.1
    names = {name.rpartition(".")[2] for name in mx.load(str(tmp_path / "run" / WEIGHTS))}
    assert names == {"lora_a", "lora_b"} | ({"m"} if kind == "dora" else set())


def test_dora_where_mlx_lm_has_none_is_one_sentence():
    from mlx_lm.models.switch_layers import SwitchLinear

    model = made.model()
    model.layers[0].mlp.up_proj = SwitchLinear(32, 64, 2)
    with pytest.raises(UsageError, match=r"take no DoRA: SwitchLinear.*--fine-tune-type lora"):
        add_lora(model, 4, 2.0, 0.0, (), -1, 0, "dora")


@pytest.mark.parametrize("layers", [-1, 1])
def test_plain_mlx_lm_opens_the_adapter_and_says_the_same(tmp_path, layers):
    import mlx_lm
    from mlx_lm.generate import generate_step

    made.save_base(tmp_path / "base")
    student = runs.run(tmp_path / "run", replace(runs.SETTINGS, num_layers=layers, iters=20, learning_rate=0.05))
    model, tokenizer = mlx_lm.load(str(tmp_path / "base"), adapter_path=str(tmp_path / "run"))
    prompt = mx.array(tokenizer.encode("You are in room 1."))

    def said(model):
        return [token for token, _ in generate_step(prompt, model, max_tokens=40)]

    assert said(model) == said(student.model)
    assert said(model) != said(made.model())
    ours = made.model()
    apply(ours, tmp_path / "run", "float32")
    assert said(ours) == said(model)


def test_the_adapter_folder_holds_no_path_and_no_time(tmp_path):
    runs.run(tmp_path / "a", runs.SETTINGS)
    runs.run(tmp_path / "b", runs.SETTINGS)
    for name in (CONFIG, WEIGHTS, "duomem.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    assert set(config) == {"fine_tune_type", "num_layers", "lora_parameters"}
    assert "/" not in (tmp_path / "a" / "duomem.json").read_text()


def test_half_precision_is_half_the_size_and_still_opens(tmp_path):
    chosen = replace(runs.SETTINGS, half=True)
    runs.run(tmp_path / "full", runs.SETTINGS)
    runs.run(tmp_path / "half", chosen)
    full, half = (mx.load(str(tmp_path / name / WEIGHTS)) for name in ("full", "half"))
    assert all(array.dtype == mx.float16 for array in half.values())
    assert all(mx.array_equal(full[name].astype(mx.float16), half[name]) for name in full)
    apply(made.model(), tmp_path / "half", "float32")


def test_a_failed_save_leaves_the_old_adapter_whole(tmp_path, monkeypatch):
    student, _, config = runs.ready(runs.SETTINGS)
    weights = trainable(student.model)
    save_adapter(tmp_path, weights, config, {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mx, "save_safetensors", full)
    with pytest.raises(DuomemError, match=r"adapters\.safetensors cannot be written: No space left"):
        save_adapter(tmp_path, {name: array + 1 for name, array in weights.items()}, config, {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
