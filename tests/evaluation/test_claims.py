"""Several processes, one results folder."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from duomem_mlx.evaluation.claims import Claims, claims_in

from . import fill

TIMED = ("seconds_per_game",)


def started(folder: Path) -> "subprocess.Popen[str]":
    call = [sys.executable, "-m", "tests.evaluation.fill", str(folder)]
    return subprocess.Popen(call, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def figures(folder: Path) -> Any:
    summary = json.loads((folder / "summary.json").read_text())
    for arm in summary["arms"].values():
        for name in TIMED:
            arm.pop(name)
    return summary


def test_a_game_is_one_processs_until_it_lets_go(tmp_path):
    mine, other = Claims(tmp_path), Claims(tmp_path)
    assert mine.take("base/0/train/a")
    assert mine.take("base/0/train/a")
    assert not other.take("base/0/train/a")
    assert other.take("base/0/train/b")
    mine.release("base/0/train/a")
    assert other.take("base/0/train/a")
    other.release_all()
    assert list((tmp_path / "claims").iterdir()) == []


def test_what_a_block_claimed_is_free_after_it_however_it_ends(tmp_path):
    try:
        with claims_in(tmp_path) as claims:
            claims.take("a")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert Claims(tmp_path).take("a")


def test_three_processes_one_killed_and_one_late_give_what_one_gives(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    fill.fill(alone)
    first, second = started(together), started(together)
    assert first.stdout is not None
    for _ in range(4):  # it has begun some games, and has finished some of them
        first.stdout.readline()
    first.kill()
    third = started(together)
    told = [process.communicate(timeout=60)[0] for process in (second, third)]
    assert [second.returncode, third.returncode] == [0, 0]
    assert figures(together) == figures(alone)
    begun = Counter(line for text in told for line in text.splitlines())
    assert set(begun.values()) <= {1, 2}  # once an arm at most, by either of the two
    arms = len(list((together / "episodes").iterdir()))
    episodes = list((together / "episodes").glob("*/*/*.json"))
    assert len(episodes) == arms * len(fill.GAMES)
    assert not any((together / "claims").iterdir())


def test_who_comes_last_waits_for_the_others_and_has_all_of_it(tmp_path):
    first = started(tmp_path)
    assert first.stdout is not None
    first.stdout.readline()
    began = time.monotonic()
    summary = fill.fill(tmp_path)
    assert time.monotonic() - began < 60
    assert all(arm["games"] == len(fill.GAMES) for arm in summary["arms"].values())
    assert first.wait(timeout=60) == 0
