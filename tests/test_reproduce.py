"""The scripts that make everything again: what a wrong call is told before anything is installed, and the stages."""

import shutil
import subprocess
import sys
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


NOTHING_INSTALLED = """
say() { printf '%s\\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
has_games() { true; }
environment() { true; }
"""
WRITES_DOWN = """#!/bin/sh
echo "$*" >>"$CALLS"
while [ "$1" != --out ]; do [ $# -gt 1 ] || exit 0; shift; done
case $2 in *"$FAILS") exit 3 ;; esac
mkdir -p "$2"
echo '{"arms": {"base": {"won": '$WON'}}}' >"$2/summary.json"
"""


class Checkout:
    """One with a space in its name, in which a duomem-mlx that only writes down how it was called is installed."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "check out"
        (self.root / "scripts").mkdir(parents=True)
        (self.root / ".venv" / "bin").mkdir(parents=True)
        shutil.copy(SCRIPTS / HOUSEHOLD, self.root / "scripts")
        (self.root / "scripts" / "environment.sh").write_text(NOTHING_INSTALLED)
        (self.root / ".venv" / "bin" / "python").symlink_to(sys.executable)
        duomem = self.root / ".venv" / "bin" / "duomem-mlx"
        duomem.write_text(WRITES_DOWN)
        duomem.chmod(0o755)

    def run(self, *words: str, own_won: int = 0, fails: str = "/nothing") -> tuple[int, list[str]]:
        """Its exit status, and of each call the command and the folder it writes to."""
        calls = self.root / "calls"
        calls.write_text("")
        env = {"PATH": "/usr/bin:/bin", "CALLS": str(calls), "WON": str(own_won), "FAILS": fails}
        script = self.root / "scripts" / HOUSEHOLD
        status = subprocess.run(["sh", script, *words], cwd=self.root, env=env, capture_output=True).returncode
        said = calls.read_text().splitlines()
        outs = (one.partition("--out ")[2].partition(" --")[0] for one in said)
        return status, [f"{one.split()[0]} {out}".strip() for one, out in zip(said, outs, strict=True)]


def stages(out: str, *, adapter: bool = True) -> list[str]:
    started = [f"teach {out}/teach", f"memories {out}/bank", f"memories {out}/memories"]
    return [*started, *([f"train {out}/adapter"] if adapter else [])]


PASSES = ["train runs/reproduce/first", "teach runs/reproduce/stumbles", "train runs/reproduce/adapter"]
PLAYED = ["evaluate runs/reproduce/results", "report", "evaluate runs/reproduce/own-games"]


def test_small_has_one_pass_and_no_games_of_its_own(tmp_path: Path) -> None:
    out = "runs/reproduce-small"
    assert Checkout(tmp_path).run("--small") == (0, [*stages(out), f"evaluate {out}/results", "report"])


def test_whole_the_arms_are_measured_before_the_bare_student_plays_for_its_own_memories(tmp_path: Path) -> None:
    assert Checkout(tmp_path).run() == (0, [*stages("runs/reproduce", adapter=False), *PASSES, *PLAYED])


def test_what_the_bare_student_won_is_one_more_arm_in_a_folder_of_its_own(tmp_path: Path) -> None:
    more = ["memories runs/reproduce/own-bank", "evaluate runs/reproduce/results-with-own", "report"]
    assert Checkout(tmp_path).run(own_won=2) == (0, [*stages("runs/reproduce", adapter=False), *PASSES, *PLAYED, *more])


def test_a_seed_stops_after_training(tmp_path: Path) -> None:
    out = "some where"
    passes = [f"train {out}/first-seed3", f"teach {out}/stumbles", f"train {out}/adapter-seed3"]
    assert Checkout(tmp_path).run("--seed", "3", "--out", out) == (0, [*stages(out, adapter=False), *passes])


@pytest.mark.parametrize("last", ["/teach", "/bank", "/memories", "/first", "/stumbles", "/adapter", "/own-games"])
def test_where_a_stage_fails_the_script_stops_and_the_same_call_goes_on(last: str, tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    status, calls = checkout.run(fails=last)
    assert (status, calls[-1].endswith(last)) == (3, True)
    status, again = checkout.run()
    assert (status, again[-3:]) == (0, PLAYED)
