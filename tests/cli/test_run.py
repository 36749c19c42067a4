"""What `run` prints, in a pipe and as JSON."""

import json
import sys
from pathlib import Path

import pytest

from duomem_mlx.cli import main

from ..student.test_models import save_base


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    base = save_base(tmp_path / "base")
    usual = ["--games", "generated:3", "--adapter", "none", "--memories", "none", "--prompt-style", "compact-1"]
    return ["duomem-mlx", "run", "--model", str(base), "--max-steps", "2", *usual]


def test_json_is_one_object_and_nothing_else(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*words, "--json"])
    assert main.status(main.app) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["game"] == "generated:3"
    assert record["won"] is False
    assert len(record["steps"]) == 2
    assert record["tokens"] == sum(step["tokens_new"] + step["tokens_out"] for step in record["steps"])
    assert record["first_action_seconds"] > 0


def test_a_person_reads_task_actions_and_verdict(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", words)
    assert main.status(main.app) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n> ") == 2
    assert "Task     " in printed.out
    assert "Not won (steps) after 2 actions" in printed.out
    assert printed.err.startswith("Next: ")
