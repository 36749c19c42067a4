"""Packed models say nearly what the whole ones say, and carry adapters."""

import json
from dataclasses import replace

import mlx.core as mx
import mlx_lm
import pytest
from mlx.utils import tree_flatten

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.models_on_disk import STUDENT, locate
from duomem_mlx.paths import alone_in
from duomem_mlx.student import gguf
from duomem_mlx.student.converting import convert
from duomem_mlx.student.models import load_student, student_folder
from duomem_mlx.student.saving import save_model
from tests.training import made, runs

IDS = mx.arange(60)[None]


def save(converted, folder):
    save_model(converted.weights, converted.config, converted.like, folder, {"format": 1})
    return folder


def distance(found, wanted):
    return (mx.linalg.norm(found - wanted) / mx.linalg.norm(wanted)).item()


@pytest.mark.parametrize("family", ["llama tied", "qwen3", "gemma3", "phi3"])
@pytest.mark.parametrize(("bits", "most"), [(4, 0.8), (8, 0.08)])
def test_a_packed_model_opens_anywhere_and_says_nearly_the_same(family, bits, most, tmp_path):
    base = made.save_base(tmp_path / "base", family)
    seen = []
    converted = convert(locate(str(base)), bits, report=lambda done, total: seen.append((done, total)))
    folder = save(converted, tmp_path / "packed")
    assert seen[-1][0] == seen[-1][1] == len(seen)
    opened, tokenizer = mlx_lm.load(str(folder))
    student = load_student(str(folder))
    assert mx.array_equal(opened(IDS), student.model(IDS))
    assert tokenizer.encode("go to shelf 1") == load_student(str(base)).tokenizer.encode("go to shelf 1")
    assert 0 < distance(student.model(IDS), load_student(str(base)).model(IDS)) < most
    assert json.loads((folder / "config.json").read_text())["quantization"]["bits"] == bits
    sizes = [sum(file.stat().st_size for file in place.glob("*.safetensors")) for place in (folder, base)]
    assert sizes[0] < sizes[1] / 2


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_scales_and_norms_have_the_type_asked_for(dtype, tmp_path):
    converted = convert(locate(str(made.save_base(tmp_path / "base"))), 4, dtype=dtype)
    kinds = {str(array.dtype).removeprefix("mlx.core.") for array in converted.weights.values()}
    assert kinds == {dtype, "uint32"}
    assert converted.dtype == dtype


def test_the_group_is_the_one_asked_for_and_says_where_it_does_not_fit(tmp_path):
    located = locate(str(made.save_base(tmp_path / "base")))
    assert convert(located, 4).group == 32  # the model is 32 wide
    wide = convert(located, 4, group=64)
    assert wide.group == 64
    assert wide.whole
    assert all(f"{name}.scales" not in wide.weights for name in wide.whole)
    assert mx.isfinite(load_student(str(save(wide, tmp_path / "wide"))).model(IDS)).all().item()
    with pytest.raises(UsageError, match="multiple of 128"):
        convert(located, 4, group=128)


@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_packed_is_not_packed_again(bits, tmp_path):
    base = made.save_base(tmp_path / "base", bits=bits)
    with pytest.raises(UsageError, match=f"packed in {bits} bits already"):
        convert(locate(str(base)), 4)


def test_an_adapter_of_the_whole_model_is_taken_unfused(tmp_path):
    base = made.save_base(tmp_path / "base")
    runs.run(tmp_path / "run", replace(runs.SETTINGS, iters=6, learning_rate=0.05))
    record = json.loads((tmp_path / "run" / "duomem.json").read_text())
    record["base"].pop("tokenizer")  # of the tests' own, written and read again
    (tmp_path / "run" / "duomem.json").write_text(json.dumps(record))
    packed = save(convert(locate(str(base)), 8), tmp_path / "packed")
    student = load_student(str(packed), tmp_path / "run")
    assert len(student.warnings) == 1
    assert "other weights" in student.warnings[0]
    wanted = load_student(str(base), tmp_path / "run").model(IDS)
    bare = load_student(str(packed)).model(IDS)
    assert distance(student.model(IDS), wanted) < 0.2 * distance(bare, wanted)


def test_the_default_students_own_blocks_carry_over_bit_for_bit(student_weights, tmp_path):
    located = locate(STUDENT, fetch=False)
    if located.kind != "gguf":
        pytest.skip("the default student is the Hub's here, which is whole")
    converted = convert(located, 4)
    assert converted.carried
    folder = save(converted, tmp_path / "packed")
    assert not (folder / "repacked.json").exists()
    packed, config = mlx_lm.utils.load_model(folder)
    whole, _ = mlx_lm.utils.load_model(student_folder())
    assert config["quantization"]["bits"] == 4
    wanted = dict(tree_flatten(whole.parameters()))
    found = gguf.dequantized(dict(tree_flatten(packed.parameters())), mx.float32)
    assert found.keys() == wanted.keys()
    assert all(mx.array_equal(found[name], array.astype(mx.float32)) for name, array in wanted.items())
    ids = mx.arange(20, 60)[None]
    assert distance(packed(ids), whole(ids)) < 1e-4
    assert convert(located, 4, group=32, dtype="float16").carried


def test_two_at_once_do_not_write_into_each_other(tmp_path):
    with alone_in(tmp_path / ".out.part"), pytest.raises(DuomemError, match="Another process writes into"):
        save_model({}, {}, tmp_path, tmp_path / "out", {})
    (tmp_path / ".out.part" / "left.safetensors").touch()
    save_model({"a": mx.zeros(3)}, {}, tmp_path, tmp_path / "out", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert not (tmp_path / "out" / "left.safetensors").exists()
