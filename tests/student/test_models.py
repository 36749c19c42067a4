import json
import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.student import models
from duomem_mlx.student.models import adapter_mismatch, add_adapter, base_fingerprint, load_student, student_folder
from tests.student import tiny

PROMPT = "> go to drawer 12\n>"


def save_base(folder: Path, seed: int = 0, **changes) -> Path:
    """The tiny student as a folder of mlx-lm's."""
    folder.mkdir(parents=True)
    model = tiny.model(seed)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    config = {key: value for key, value in vars(model.args).items() if value is not None} | {"eos_token_id": 257}
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    tiny.tokenizer()._tokenizer.save_pretrained(folder)
    return folder


def save_adapter(folder: Path, base: str | None, rank: int = 4, keys=("self_attn.q_proj", "mlp.down_proj")) -> Path:
    """A random adapter for `base`, as mlx-lm's trainer saves one."""
    from mlx_lm.tuner.utils import linear_to_lora_layers

    folder.mkdir(parents=True)
    student = load_student(base)
    parameters = {"rank": rank, "scale": 8.0, "dropout": 0.5, "keys": list(keys)}
    mx.random.seed(7)
    linear_to_lora_layers(student.model, 2, parameters)
    arrays = {
        name: mx.random.normal(array.shape) * 0.3
        for name, array in tree_flatten(student.model.parameters())
        if "lora_" in name
    }
    mx.save_safetensors(str(folder / "adapters.safetensors"), arrays)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "duomem.json").write_text(json.dumps({"format": 1, "base": base_fingerprint(student)}))
    return folder


def greedy(model, tokenizer, prompt=PROMPT, count=12) -> list[int]:
    from mlx_lm.generate import generate_step

    ids = mx.array(tokenizer.encode(prompt, add_special_tokens=False))
    return [int(token) for token, _ in generate_step(ids, model, max_tokens=count)]


def change_adapter(folder: Path, change) -> None:
    weights = mx.load(str(folder / "adapters.safetensors"))
    mx.eval(weights)
    weights = change(dict(weights))
    mx.save_safetensors(str(folder / "new.safetensors"), weights)
    os.replace(folder / "new.safetensors", folder / "adapters.safetensors")


@pytest.fixture
def base(tmp_path):
    return save_base(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path, base):
    return save_adapter(tmp_path / "adapter", str(base))


# -- the base ----------------------------------------------------------------------------------------------------


def test_the_default_student_answers_and_plain_mlx_lm_agrees(student_weights):
    from mlx_lm import load

    student = load_student()
    folder = student_folder()
    assert student.folder == folder
    model, tokenizer = load(str(folder))
    chat = student.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Name the capital of France."}], add_generation_prompt=True, tokenize=False
    )
    ours = greedy(student.model, student.tokenizer, chat, 8)
    assert student.tokenizer.decode(ours) == "The capital of France is Paris.<|im_end|>"
    assert ours == greedy(model, tokenizer, chat, 8)


def test_a_folder_is_loaded_as_plain_mlx_lm_loads_it(base):
    from mlx_lm import load

    student = load_student(str(base))
    model, tokenizer = load(str(base))
    assert greedy(student.model, student.tokenizer) == greedy(model, tokenizer)
    assert student.tokenizer.eos_token_ids == {257}
    assert (student.dtype, student.adapter, student.warnings) == (models.default_dtype(), None, ())


@pytest.mark.parametrize("dtype", models.DTYPES)
def test_weights_have_the_type_asked_for(base, dtype):
    student = load_student(str(base), dtype=dtype)
    assert {str(array.dtype) for _, array in tree_flatten(student.model.parameters())} == {f"mlx.core.{dtype}"}
    assert student.dtype == dtype


def test_on_a_cpu_everything_is_float32_even_a_quantized_models_scales(base, tmp_path, monkeypatch):
    import mlx.nn as nn

    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.cpu, 0))
    model = tiny.model()
    nn.quantize(model, group_size=32, bits=4)
    model.set_dtype(mx.float16)
    mx.save_safetensors(str(base / "model.safetensors"), dict(tree_flatten(model.parameters())))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "quantization": {"group_size": 32, "bits": 4}}))
    student = load_student(str(base))
    types = {str(array.dtype) for _, array in tree_flatten(student.model.parameters())}
    assert types == {"mlx.core.float32", "mlx.core.uint32"}
    assert student.dtype == "float32"


@pytest.mark.parametrize(
    ("stored", "wanted"), [("float32", "float16"), ("float16", "float16"), ("bfloat16", "bfloat16")]
)
def test_on_a_gpu_it_is_half_precision(monkeypatch, stored, wanted):
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu, 0))
    assert models.default_dtype(stored) == wanted


def test_unknown_type_and_unknown_model_are_usage_errors(base):
    with pytest.raises(UsageError, match="float16"):
        load_student(str(base), dtype="int8")
    with pytest.raises(UsageError, match="There is no model"):
        load_student(str(base) + "x")


def test_what_is_loaded_no_longer_depends_on_the_file(base):
    first, second = load_student(str(base)), load_student(str(base))
    before = greedy(first.model, first.tokenizer)
    size = (base / "model.safetensors").stat().st_size
    with (base / "model.safetensors").open("rb+") as file:
        file.write(b"\0" * size)
    assert greedy(second.model, second.tokenizer) == before


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot be loaded"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
            "cannot be loaded",
        ),
        (lambda f: (f / "config.json").write_text('{"model_type": "no-such"}'), "no-such not supported"),
        (lambda f: (f / "config.json").write_text('{"model_type": "llama"}'), "cannot be loaded"),
        (lambda f: (f / "config.json").write_text("{"), "not whole JSON"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer .* cannot be loaded"),
        (lambda f: [file.unlink() for file in f.glob("tok*")], "tokenizer .* cannot be loaded"),
    ],
)
def test_a_broken_model_is_one_sentence(base, break_it, said):
    break_it(base)
    with pytest.raises(DuomemError, match=said) as error:
        load_student(str(base))
    assert "\n" not in str(error.value)


def test_in_a_fresh_process_openblas_is_there_before_mlx(base):
    if not sys.platform.startswith("linux"):
        pytest.skip("OpenBLAS is loaded on Linux only")
    code = "from duomem_mlx.student import models; from duomem_mlx import blas; print(blas.status().fault)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "before" not in done.stdout


# -- adapters ------------------------------------------------------------------------------------------------------


def test_an_adapter_changes_the_answer_as_in_plain_mlx_lm(base, adapter):
    from mlx_lm import load

    bare = load_student(str(base))
    student = load_student(str(base), adapter)
    model, tokenizer = load(str(base), adapter_path=str(adapter))
    ours = greedy(student.model, student.tokenizer)
    assert ours == greedy(model, tokenizer)
    assert ours != greedy(bare.model, bare.tokenizer)
    assert mx.array_equal(student.model(mx.array([[1, 2, 3]])), model(mx.array([[1, 2, 3]])))
    assert student.adapter == adapter
    assert student.adapter_record["format"] == 1
    assert student.identity == bare.identity
    assert student.warnings == ()


def test_the_same_with_the_default_student(student_weights, tmp_path):
    from mlx_lm import load

    adapter = save_adapter(tmp_path / "adapter", None, keys=("self_attn.v_proj",))
    student = load_student(adapter=adapter)
    model, tokenizer = load(str(student_folder()), adapter_path=str(adapter))
    assert greedy(student.model, student.tokenizer, count=6) == greedy(model, tokenizer, count=6)


def test_an_adapter_loaded_twice_is_the_same_and_has_an_identity(base, adapter, tmp_path):
    one, two = load_student(str(base), adapter), load_student(str(base), adapter)
    assert greedy(one.model, one.tokenizer) == greedy(two.model, two.tokenizer)
    other = save_adapter(tmp_path / "other", str(base), rank=2)
    assert one.adapter_identity == two.adapter_identity != load_student(str(base), other).adapter_identity


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hidden_size": 64}, "hidden_size is 64, the model's is 32"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3"),
        ({"model_type": "qwen2"}, "it is qwen2, the model is llama"),
        ({"tokenizer": "0"}, "the tokenizer is another"),
    ],
)
def test_an_adapter_of_another_base_is_refused(base, adapter, changed, said):
    record = json.loads((adapter / "duomem.json").read_text())
    record["base"].update(changed)
    (adapter / "duomem.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=f"trained for another base than .*{said}"):
        load_student(str(base), adapter)
    assert said in adapter_mismatch(load_student(str(base)), adapter)


def test_another_tokenizer_of_the_same_size_is_another_base(base, adapter):
    file = base / "tokenizer.json"
    text = json.loads(file.read_text())
    vocabulary = text["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    file.write_text(json.dumps(text))
    assert adapter_mismatch(load_student(str(base)), adapter) == "the tokenizer is another"


def test_other_weights_of_the_same_base_are_used_with_a_warning(tmp_path, adapter):
    other = save_base(tmp_path / "other", seed=1)
    student = load_student(str(other), adapter)
    assert "other weights of the same base" in student.warnings[0]
    assert adapter_mismatch(student, adapter) is None


def test_without_a_record_the_shapes_decide(base, adapter):
    (adapter / "duomem.json").unlink()
    assert load_student(str(base), adapter).warnings == ()
    change_adapter(adapter, lambda weights: {name: mx.zeros((3, 3)) for name in weights})
    with pytest.raises(DuomemError, match="of another shape"):
        load_student(str(base), adapter)


def test_every_wrong_name_and_shape_is_in_one_sentence(base, adapter):
    missing = "model.layers.1.mlp.down_proj.lora_b"
    shaped = "model.layers.0.mlp.down_proj.lora_a"

    def change(weights):
        weights.pop(missing)
        weights[shaped] = mx.zeros((2, 2))
        return {**weights, "model.layers.9.extra.lora_a": mx.zeros((1, 1))}

    change_adapter(adapter, change)
    with pytest.raises(DuomemError) as error:
        load_student(str(base), adapter)
    for part in (
        f"missing in the adapter: {missing}",
        "not in the model: model.layers.9.extra.lora_a",
        f"{shaped} (2, 2)",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_layer_which_mlx_lm_takes_silently_is_refused(base, adapter):
    from mlx_lm import load

    change_adapter(adapter, lambda weights: {k: v for k, v in weights.items() if "layers.1." not in k})
    load(str(base), adapter_path=str(adapter))
    with pytest.raises(DuomemError, match=r"missing in the adapter: model\.layers\.1"):
        load_student(str(base), adapter)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: (f / "adapters.safetensors").unlink(), "no adapters.safetensors"),
        (lambda f: (f / "adapters.safetensors").write_bytes(b""), "cannot be read"),
        (
            lambda f: (f / "adapters.safetensors").write_bytes((f / "adapters.safetensors").read_bytes()[:-5]),
            "cannot be read",
        ),
        (lambda f: (f / "adapter_config.json").unlink(), "no adapter config"),
        (lambda f: (f / "adapter_config.json").write_text(""), "is empty"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "not a JSON object"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "does not describe an adapter"),
        (lambda f: (f / "adapter_config.json").write_text('{"fine_tune_type": "full"}'), "of the type full"),
        (lambda f: (f / "duomem.json").write_text("{"), "not whole JSON"),
        (lambda f: (f / "duomem.json").write_text('{"format": 2}'), "has format 2, this version reads up to 1"),
    ],
)
def test_a_broken_adapter_is_one_sentence(base, adapter, break_it, said):
    break_it(adapter)
    with pytest.raises(DuomemError, match=said) as error:
        load_student(str(base), adapter)
    assert "\n" not in str(error.value)


def test_an_adapter_that_is_not_there_is_said_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "locate", lambda _name: pytest.fail("the model was looked for"))
    with pytest.raises(UsageError, match="no adapter folder"):
        load_student("any", tmp_path / "nothing")


def test_adding_an_adapter_later_is_the_same(base, adapter):
    later = add_adapter(load_student(str(base)), adapter)
    at_once = load_student(str(base), adapter)
    assert greedy(later.model, later.tokenizer) == greedy(at_once.model, at_once.tokenizer)
    assert later.adapter_identity == at_once.adapter_identity


def test_a_text_longer_than_a_model_reads_is_measured_without_a_word(base, capfd):
    tokenizer = load_student(str(base)).tokenizer
    tokenizer.model_max_length = 4
    assert len(tokenizer.encode(PROMPT)) > 4
    assert capfd.readouterr().err == ""
