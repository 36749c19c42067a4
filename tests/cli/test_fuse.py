import json
from dataclasses import replace

import mlx_lm
import pytest

from duomem_mlx.cli.main import app, status
from tests.training import made, runs

WORLD = "tests.teachers.corridor:Corridors"


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """(base of 4 bits, adapter)"""
    folder = tmp_path_factory.mktemp("fuse")
    base = made.save_base(folder / "base", bits=4)
    runs.run(folder / "adapter", replace(runs.SETTINGS, iters=2), bits=4)
    return base, folder / "adapter"


def fuse(ready, *more):
    base, adapter = ready
    words = ["fuse", "--model", base, "--adapter", adapter, "--env", WORLD, "--games", "train", "--max-steps", 2, *more]
    return status(lambda: app([str(word) for word in words]))


def test_before_and_after_are_played_and_compared(ready, tmp_path, capsys):
    assert fuse(ready, "--bits", "none", "--check", 3, "--out", tmp_path / "out") == 0
    out, err = capsys.readouterr()
    assert "adapter beside its base  0/3    2.0" in out
    assert "Fusing lost 0 games and gained 0 (exact McNemar p = 1.00); in 3 of 3 every action is the same." in err
    assert f"Next: duomem-mlx evaluate --model {tmp_path / 'out'} --adapter none" in err
    record = json.loads((tmp_path / "out" / "duomem.json").read_text())
    assert record["fused"]["check"]["games"] == 3
    assert record["fused"]["bits"] == "none"
    assert record["prompt_style"] == "compact-1"
    assert record["figures"]["steps"] == 2
    assert str(tmp_path) not in (tmp_path / "out" / "duomem.json").read_text()
    mlx_lm.load(str(tmp_path / "out"))
    assert len(list((tmp_path / "out-check" / "episodes").glob("*/0/*.json"))) == 6


def test_the_base_s_bits_are_kept_and_what_that_costs_is_told(ready, tmp_path, capsys):
    assert fuse(ready, "--out", tmp_path / "out", "--json") == 0
    out, err = capsys.readouterr()
    assert "Careful: rounding to 4 bits moves the weights" in err
    assert "--bits none keeps it whole" in err
    found = json.loads(out)
    assert (found["packed"], found["path"]) == (4, str(tmp_path / "out"))
    assert found["rounding"] > 0.5


def test_the_same_call_again_does_nothing_and_another_is_refused(ready, tmp_path, capsys):
    assert fuse(ready, "--bits", "8", "--out", tmp_path / "out") == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert fuse(ready, "--bits", "8", "--out", tmp_path / "out") == 0
    assert "done already" in capsys.readouterr().err
    assert fuse(ready, "--bits", "4", "--out", tmp_path / "out") == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert fuse(ready, "--bits", "4", "--out", tmp_path / "out", "--overwrite") == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]["bits"] == 4


def test_a_model_that_is_there_is_checked_and_no_game_is_played_twice(ready, tmp_path, capsys):
    assert fuse(ready, "--bits", "8", "--out", tmp_path / "out") == 0
    weights = (tmp_path / "out" / "model.safetensors").stat()
    assert fuse(ready, "--bits", "8", "--check", 2, "--out", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["check"]["games"] == 2
    played = {path: path.stat().st_mtime_ns for path in (tmp_path / "out-check" / "episodes").glob("*/0/*.json")}
    assert len(played) == 4
    assert fuse(ready, "--bits", "8", "--check", 3, "--out", tmp_path / "out") == 0
    assert "of 3 every action" in capsys.readouterr().err
    assert len(list((tmp_path / "out-check" / "episodes").glob("*/0/*.json"))) == 6
    assert {path: path.stat().st_mtime_ns for path in played} == played
    now = (tmp_path / "out" / "model.safetensors").stat()
    assert (now.st_ino, now.st_mtime_ns) == (weights.st_ino, weights.st_mtime_ns)


def test_peft_s_format(ready, tmp_path, capsys):
    assert fuse(ready, "--export", "peft", "--out", tmp_path / "out") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "duomem.json"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--bits", "5"], "--bits is 5"),
        (["--export", "gguf"], "--export is gguf"),
        (["--export", "peft", "--bits", "4"], "--export writes the adapter as it is"),
        (["--adapter", "none"], "no adapter to fuse"),
        (["--adapter", "nowhere"], "no adapter 'nowhere'"),
        (["--out", "."], "was not made by fuse"),
        (["--check", "2", "--games", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence(ready, tmp_path, capsys, more, said):
    (tmp_path / "mine.txt").write_text("keep")
    assert fuse(ready, *more) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert (tmp_path / "mine.txt").read_text() == "keep"
