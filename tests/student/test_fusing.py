import json
from dataclasses import replace

import mlx.core as mx
import mlx_lm
import pytest

from duomem_mlx import prompt
from duomem_mlx.cli.wiring import adapter_path
from duomem_mlx.errors import DuomemError
from duomem_mlx.household.environment import household
from duomem_mlx.student import fusing, saving
from duomem_mlx.student.agent import prompt_style_of
from duomem_mlx.student.models import load_student
from tests.training import made, runs

IDS = mx.arange(60)[None]


@pytest.fixture(scope="module", params=[None, 4, 8], ids=lambda bits: f"base {bits or 'whole'}")
def base(request, tmp_path_factory):
    return made.save_base(tmp_path_factory.mktemp("base") / "base", bits=request.param), request.param


@pytest.fixture(scope="module", params=["lora", "dora"])
def adapter(request, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter") / "run"
    chosen = replace(runs.SETTINGS, fine_tune_type=request.param, iters=6, learning_rate=0.05)
    runs.run(folder, chosen, bits=base[1])
    return folder


@pytest.mark.parametrize("bits", [None, 4, 8])
def test_the_fused_model_opens_anywhere_and_says_what_the_adapter_said(base, adapter, bits, tmp_path):
    folder, packed = base
    student = load_student(str(folder), adapter)
    wanted = student.model(IDS)
    mx.eval(wanted)
    fused = fusing.fuse(student, bits)
    assert not [name for name, _ in fused.student.model.named_modules() if name.endswith("lora_a")]
    fusing.save(fused, tmp_path / "out", {"format": 1, "prompt_style": prompt.COMPACT, "fused": {"bits": bits}})
    opened, _ = mlx_lm.load(str(tmp_path / "out"))
    found = opened(IDS)
    assert mx.array_equal(found, load_student(str(tmp_path / "out")).model(IDS))
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config.get("quantization", {}).get("bits") == bits
    if bits is None:
        assert fused.rounding == 0
        assert mx.abs(found - wanted).max().item() < 1e-4 * mx.abs(wanted).max().item()
    else:
        assert fused.rounding > 0
        assert mx.array_equal(found, fused.student.model(IDS))
    if packed and packed == bits:
        assert config["quantization"]["group_size"] == made.GROUP


def test_more_bits_round_less_and_a_small_adapter_is_rounded_away(tmp_path):
    base = made.save_base(tmp_path / "base", bits=4)
    runs.run(tmp_path / "run", replace(runs.SETTINGS, iters=1, learning_rate=1e-6), bits=4)
    four, eight = (fusing.fuse(load_student(str(base), tmp_path / "run"), bits) for bits in (4, 8))
    assert eight.rounding < 0.2 * four.rounding
    assert four.rounding > 1
    bare, wanted = (load_student(str(base), adapter).model(IDS) for adapter in (None, tmp_path / "run"))
    assert mx.abs(four.student.model(IDS) - wanted).max().item() > 100 * mx.abs(wanted - bare).max().item()


def test_a_fused_model_is_asked_in_the_style_it_learnt_and_gets_no_second_adapter(tmp_path, capsys):
    base = made.save_base(tmp_path / "base")
    runs.run(tmp_path / "run", runs.SETTINGS)
    student = load_student(str(base), tmp_path / "run")
    fusing.save(fusing.fuse(student, None), tmp_path / "out", {**student.adapter_record, "fused": {}})
    assert prompt_style_of(load_student(str(tmp_path / "out"))) == prompt.COMPACT
    assert prompt_style_of(load_student(str(base))) == prompt.CHAT
    assert adapter_path(None, str(tmp_path / "out"), household()) is None
    assert "has one fused into it" in capsys.readouterr().err


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    base = made.save_base(tmp_path / "base")
    runs.run(tmp_path / "run", replace(runs.SETTINGS, iters=1))
    fused = fusing.fuse(load_student(str(base), tmp_path / "run"), None)
    fusing.save(fused, tmp_path / "out", {"first": True})
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "write_arrays", full)
    with pytest.raises(DuomemError, match="No space left"):
        fusing.save(fused, tmp_path / "out", {"second": True})
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert not list(tmp_path.glob(".out*"))
