"""`models convert`: a folder once, whole, and nobody's else taken away."""

import json
import re
from pathlib import Path

import pytest

from duomem_mlx.student import saving

from ..training import made


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return made.save_base(tmp_path / "base")


def test_a_packed_model_plays_and_is_made_once(call, base: Path, tmp_path: Path) -> None:
    words = ("models", "convert", base, "--bits", 4, "--out", tmp_path / "out")
    status, out, err = call(*words, "--json")
    assert status == 0, err
    record = json.loads(out)
    assert (record["bits"], record["packed_in_groups_of"], record["carried_over"]) == (4, 32, False)
    assert record["path"] == str(tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    status, out, err = call(*words)
    assert status == 0
    assert "done already" in err
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == before
    play = ("--adapter", "none", "--memories", "none", "--max-steps", 1, "--games", "generated:1", "--json")
    status, out, err = call("run", "--model", tmp_path / "out", *play)
    assert status == 0, err
    assert len(json.loads(out)["steps"]) == 1


def test_another_folder_is_replaced_only_when_it_is_asked_for_and_is_ours(call, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("models", "convert", base, "--bits", 4, "--out", out)[0] == 0
    status, _, err = call("models", "convert", base, "--bits", 8, "--out", out)
    assert status == 2
    assert "--overwrite" in err
    assert json.loads((out / "config.json").read_text())["quantization"]["bits"] == 4
    assert call("models", "convert", base, "--bits", 8, "--out", out, "--overwrite")[0] == 0
    assert json.loads((out / "config.json").read_text())["quantization"]["bits"] == 8
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    status, _, err = call("models", "convert", base, "--bits", 8, "--out", tmp_path / "mine", "--overwrite")
    assert status == 2
    assert "was not made by models convert" in err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bits", "5"], "--bits is 5. It is 4 or 8"),
        (["--bits", "4", "--group-size", "48"], "--group-size is 48"),
        (["--bits", "4", "--group-size", "128"], "multiple of 128"),
        (["--bits", "4", "--dtype", "int8"], "--dtype is int8"),
        ([], "Missing option '--bits'"),
    ],
)
def test_wrong_words(call, base: Path, words: list[str], said: str) -> None:
    status, _, err = call("models", "convert", base, *words)
    assert status == 2
    assert said in err
    assert not Path("runs").exists()


def test_a_model_that_is_not_there_or_packed_already_is_told(call, tmp_path: Path) -> None:
    assert re.search("no model gone", call("models", "convert", "gone", "--bits", 4)[2])
    packed = made.save_base(tmp_path / "packed", bits=4)
    status, _, err = call("models", "convert", packed, "--bits", 8)
    assert status == 2
    assert "packed in 4 bits already" in err


def test_a_full_disk_leaves_what_was_there(call, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert call("models", "convert", base, "--bits", 4, "--out", out)[0] == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "write_arrays", full)
    status, _, err = call("models", "convert", base, "--bits", 8, "--out", out, "--overwrite")
    assert status == 1
    assert "No space left" in err
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert not list(tmp_path.glob(".out*"))
