"""Room for games, kept with a run; a machine that stays awake; power that is noted and compared with nothing."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from duomem_mlx.cli import machine, main
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.student import machine as student_machine
from duomem_mlx.student.footprint import MOST_WIDTH, Footprint

from ..student.test_models import save_base

TAKES = Footprint("float32", None, 1 << 30, 1 << 16, 1 << 28, 4096)  # 1 GB of weights, 256 MB a game


def test_what_is_asked_for_wins_then_what_was_kept_then_the_budget() -> None:
    assert machine.games_together(3, "1GB", {machine.WIDTH: 5}, TAKES, 8192) == 3
    assert machine.games_together(None, "1GB", {machine.WIDTH: 5}, TAKES, 8192) == 5
    assert machine.games_together(None, "4GB", {}, TAKES, 8192) == 8
    assert machine.games_together(None, "64GB", {}, TAKES, 8192) == MOST_WIDTH


def test_without_a_budget_the_machine_has_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(student_machine, "usable_bytes", lambda: 4 << 30)
    assert machine.games_together(None, None, {}, TAKES, 8192) == 8
    monkeypatch.setattr(student_machine, "usable_bytes", lambda: 1 << 30)
    assert machine.games_together(None, None, {}, TAKES, 8192) == 1
    assert "one by one" in capsys.readouterr().err


def test_a_budget_that_holds_nothing_is_refused() -> None:
    with pytest.raises(DuomemError, match="--ram 1GB is too little"):
        machine.games_together(None, "1GB", {}, TAKES, 8192)
    with pytest.raises(UsageError, match="no size"):
        machine.games_together(3, "much", {}, TAKES, 8192)


def evaluate(base: Path, out: Path, *words: str) -> list[str]:
    usual = ["--games", "generated:1:2", "--arm", "base", "--adapter", "none", "--memories", "none", "--json"]
    return ["duomem-mlx", "evaluate", "--model", str(base), *usual, "--max-steps", "1", "--out", str(out), *words]


def test_a_resumed_evaluation_keeps_its_width_and_compares_neither_power_nor_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = save_base(tmp_path / "base")
    seen = []

    def call(power: str | None, free: int, *words: str) -> dict[str, object]:
        monkeypatch.setattr(student_machine, "power_source", lambda: power)
        monkeypatch.setattr(student_machine, "usable_bytes", lambda: free)
        monkeypatch.setattr(sys, "argv", evaluate(base, tmp_path / "out", *words))
        assert main.status(main.app) == 0
        printed = capsys.readouterr()
        seen.append(printed.err)
        found: dict[str, object] = json.loads(printed.out)
        return found

    takes = machine.footprint_of(str(base))
    context = takes.context or 8192
    first = call(student_machine.BATTERY, takes.of_games(4, context))
    assert first["batch_size"] == 4
    assert (first["bits"], first["dtype"], first["model_bytes"]) == (None, takes.dtype, takes.weights)
    assert f"{takes.dtype}, " in seen[0]
    assert "4 games together" in seen[0]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["notes"] == {"power": "battery", "batch_size": 4}
    again = call(student_machine.MAINS, takes.of_games(9, context))
    assert again["batch_size"] == 4
    machine_record = again["machine"]
    assert isinstance(machine_record, dict)
    assert machine_record["power"] == "mains"
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == config
    assert call(None, 1 << 34, "--batch-size", "2")["batch_size"] == 2


def test_caffeinate_lives_as_long_as_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    calls = []
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "Popen", lambda call, **_: calls.append(call))
    machine.keep_awake(False)
    machine.keep_awake(True)
    assert calls == [["caffeinate", "-i", "-w", str(os.getpid())]]


def test_where_it_cannot_be_kept_awake_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("caffeinate")

    monkeypatch.setattr(subprocess, "Popen", missing)
    for system, said in (("Linux", "does nothing here"), ("Darwin", "cannot be kept awake")):
        monkeypatch.setattr(platform, "system", lambda system=system: system)
        machine.keep_awake(True)
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "train", "teach"])
def test_long_jobs_can_be_kept_awake(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.status(lambda: main.app([command, "--help"])) == 0
    assert "--keep-awake" in capsys.readouterr().out
