"""The command line, called in this process."""

import sys
from pathlib import Path

import pytest

from duomem_mlx.cli import main

from ..student.test_models import save_base


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """Status, standard output and standard error of a call."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["duomem-mlx", *map(str, words)])
        status = main.status(main.app)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return status, printed.out, printed.err

    return run


@pytest.fixture
def bare(tmp_path: Path) -> list[str]:
    """Options of a tiny student that plays two steps with neither adapter nor memories."""
    base = save_base(tmp_path / "base")
    usual = ["--adapter", "none", "--memories", "none", "--prompt-style", "compact-1", "--max-steps", "2"]
    return ["--model", str(base), *usual]
