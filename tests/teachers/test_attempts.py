import os
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemError
from duomem_mlx.teachers import attempts as module
from duomem_mlx.teachers.attempts import Attempts, attempts_in, summary_of
from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.scripted import ScriptedTeacher
from duomem_mlx.trajectory import Trajectory, read_trajectories
from tests.teachers.corridor import Corridors, Walker


def played(number: int) -> Trajectory:
    return attempt(Corridors(), f"train/{number}", Walker(), {"kind": "search"}, 30)


def test_what_was_added_is_there_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    with attempts_in(tmp_path) as attempts:
        for number in range(10):
            attempts.add(played(number))
    again = Attempts(tmp_path).done
    assert again == attempts.done
    assert list(again) == [f"train/{n}" for n in (1, 2, 3, 4, 6, 7, 8, 9, 0, 5)]
    assert [t.game for t in read_trajectories(tmp_path / "failures.jsonl")] == ["train/0", "train/5"]
    assert all(t.won for t in read_trajectories(tmp_path))


def test_what_was_added_is_there_after_an_interruption(tmp_path: Path) -> None:
    def stopped() -> None:
        with attempts_in(tmp_path) as attempts:
            attempts.add(played(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(Attempts(tmp_path).done) == ["train/1"]


def test_two_processes_do_not_play_into_one_folder(tmp_path: Path) -> None:
    with attempts_in(tmp_path) as attempts:
        with pytest.raises(DuomemError, match="Another process writes into"), attempts_in(tmp_path):
            pass
        attempts.add(played(1))
    with attempts_in(tmp_path) as attempts:
        assert list(attempts.done) == ["train/1"]


def test_a_torn_last_line_is_played_again(tmp_path: Path) -> None:
    with attempts_in(tmp_path) as attempts:
        for number in range(1, 5):
            attempts.add(played(number))
    file = tmp_path / "trajectories.jsonl"
    whole = file.read_bytes()
    for cut in (1, 2, 50, len(whole.splitlines(keepends=True)[-1]) - 1):
        file.write_bytes(whole[:-cut])
        assert list(Attempts(tmp_path).done) == ["train/1", "train/2", "train/3"]


def test_a_line_that_is_torn_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "trajectories.jsonl").write_text('{"format": 1\n{}\n')
    with pytest.raises(DuomemError, match="Line 1 of"):
        Attempts(tmp_path)


def test_a_full_disk_leaves_what_was_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(tmp_path)
    attempts.add(played(1))
    attempts.sync()
    before = (tmp_path / "trajectories.jsonl").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    attempts.add(played(2))
    with pytest.raises(DuomemError, match="No space left"):
        attempts.sync()
    assert (tmp_path / "trajectories.jsonl").read_bytes() == before
    assert list(attempts.done) == ["train/1"]


def test_it_syncs_by_itself_when_time_has_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYNC_EVERY_S", 0)
    attempts = Attempts(tmp_path)
    attempts.add(played(1))
    assert list(Attempts(tmp_path).done) == ["train/1"]


def test_the_summary_counts_by_kind(tmp_path: Path) -> None:
    with attempts_in(tmp_path) as attempts:
        for number in range(10):
            attempts.add(played(number))
    summary = summary_of(list(attempts.done.values()))
    assert (summary["games"], summary["won"], summary["success"]) == (10, 8, 0.8)
    assert (summary["attempts"], summary["solutions"]) == (10, 8)
    assert summary["steps_mean_won"] == pytest.approx((2 + 3 + 4 + 5 + 7 + 1 + 2 + 3) / 8, abs=0.005)
    assert {kind: (c["won"], c["games"]) for kind, c in summary["by_type"].items()} == {"long": (3, 4), "short": (5, 6)}
    assert [lost["game"] for lost in summary["not_won"]] == ["train/0", "train/5"]


def test_nothing_won_has_no_mean() -> None:
    assert summary_of([[module.Outcome("g", "train", "k", "t", False, "lost", 3, "id")]])["steps_mean_won"] is None


def walked(*actions: str) -> Trajectory:
    return attempt(Corridors(), "train/1", ScriptedTeacher(actions), {"kind": "scripted"}, 30)


def test_each_way_of_winning_is_kept_once(tmp_path: Path) -> None:
    ways = [("walk", "walk"), ("walk", "jump", "walk"), ("walk", "walk"), ("jump",)]
    with attempts_in(tmp_path) as attempts:
        for way in ways[:2]:
            attempts.add(walked(*way))
    with attempts_in(tmp_path) as attempts:
        for way in ways[2:]:
            attempts.add(walked(*way))
    assert [t.actions for t in read_trajectories(tmp_path)] == ways[:2]
    assert [t.actions for t in read_trajectories(tmp_path / "repeats.jsonl")] == [ways[0]]
    again = Attempts(tmp_path)
    assert len(again.done["train/1"]) == 4
    summary = summary_of([again.done["train/1"]])
    assert (summary["games"], summary["won"], summary["solutions"], summary["attempts"]) == (1, 1, 2, 4)
    assert summary["steps_mean_won"] == 2.5
