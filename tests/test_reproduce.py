"""The scripts that make everything again: what a wrong call is told, before anything is installed or played."""

import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
HOUSEHOLD, SCIENCE = "reproduce.sh", "reproduce_scienceworld.sh"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        *((script, words) for script in (HOUSEHOLD, SCIENCE) for words in ("--out", "--out --plan", "--nope", "more")),
        *((HOUSEHOLD, f"--seed {seed}") for seed in ("", "0", "007", "-1", "x", "1234567890")),
        (HOUSEHOLD, "--small --seed 2"),
    ],
)
def test_a_wrong_call_is_one_sentence(script: str, words: str, tmp_path: Path) -> None:
    called = subprocess.run(["sh", SCRIPTS / script, *words.split()], cwd=tmp_path, capture_output=True, text=True)
    assert called.returncode == 1
    assert len(called.stderr.splitlines()) == 1
    assert words.split()[0] in called.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [HOUSEHOLD, SCIENCE])
def test_help_names_every_option(script: str) -> None:
    called = subprocess.run(["sh", SCRIPTS / script, "--help"], capture_output=True, text=True, check=True)
    for option in ("--out", "--small", "--seed") if script == HOUSEHOLD else ("--out", "--plan"):
        assert f"\n{option} " in called.stdout
