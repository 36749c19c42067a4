import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.cli.main import app, status
from duomem_mlx.teachers.record import attempt
from duomem_mlx.trajectory import read_trajectories
from tests.teachers.corridor import Corridor, Corridors

WORLD = "tests.teachers.corridor:Corridors"
REPO = Path(__file__).parents[2]


def teach(*words: str) -> int:
    return status(lambda: app(["teach", "--env", WORLD, *words]))


def actions(folder: Path) -> dict[str, tuple[str, ...]]:
    return {
        t.game: t.actions for name in ("trajectories", "failures") for t in read_trajectories(folder / f"{name}.jsonl")
    }


def test_what_is_won_is_kept_and_the_rest_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert teach("--out", str(tmp_path / "taught")) == 0
    out, err = capsys.readouterr()
    won = list(read_trajectories(tmp_path / "taught"))
    assert len(won) == 32
    assert all(t.won and t.teacher == {"kind": "search"} for t in won)
    summary = json.loads((tmp_path / "taught" / "summary.json").read_text())
    assert (summary["won"], summary["games"], len(summary["not_won"])) == (32, 40, 8)
    assert "80.0%" in out
    assert "walk 2 steps (train/15, 4 steps)" in err
    assert f"duomem-mlx memories build {tmp_path / 'taught'}" in err


def test_a_teacher_that_stumbles_says_what_it_wanted_and_is_not_taken_for_one_that_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--env", "household", "--games", "generated:0:8", "--out", str(tmp_path / "taught"), "--stumbles")
    assert status(lambda: app(["teach", *words, "0.3"])) == 0
    taught = list(read_trajectories(tmp_path / "taught"))
    assert any(step.wanted for t in taught for step in t.steps)
    assert all(t.teacher == {"kind": "search", "stumbles": 0.3} for t in taught)
    assert status(lambda: app(["teach", *words, "0.2"])) == 2
    assert "stumbles" in capsys.readouterr().err


def test_a_teacher_that_stumbles_need_not_be_one_that_can_vary(tmp_path: Path) -> None:
    words = ("--limit", "4", "--stumbles", "0.5", "--solutions", "2", "--out", str(tmp_path / "taught"))
    assert teach(*words) == 0
    assert list(read_trajectories(tmp_path / "taught"))


def test_games_for_evaluation_are_not_offered_for_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert teach("--games", "valid", "--limit", "2") == 0
    assert "duomem-mlx train" not in capsys.readouterr().err


def test_an_endpoint_that_is_away_is_named_when_the_hours_are_over(capsys: pytest.CaptureFixture[str]) -> None:
    far = ("--teacher", "remote", "--base-url", "http://127.0.0.1:1/v1", "--model", "big", "--max-hours", "0.0002")
    for more in ((), ("--plan",)):
        assert teach("--limit", "2", *far, *more) == 1
        said = capsys.readouterr().err
        assert "The endpoint answered nothing (last: connection)." in said
        assert "--base-url" in said
        assert "raise the budget" not in said.lower()


def test_the_json_is_one_object_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert teach("--limit", "10", "--out", str(tmp_path / "taught"), "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["games"] == 10
    assert Path(summary["trajectories"]) == tmp_path / "taught" / "trajectories.jsonl"


def test_the_same_command_plays_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert teach("--limit", "6") == 0
    [folder] = Path("runs").iterdir()
    before = (folder / "trajectories.jsonl").read_bytes()
    assert teach("--limit", "6") == 0
    assert (folder / "trajectories.jsonl").read_bytes() == before
    assert "6 of 6 games were played before" in capsys.readouterr().err


def test_another_run_keeps_off_and_overwrite_starts_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "taught")
    assert teach("--limit", "6", "--out", out) == 0
    before = actions(tmp_path / "taught")
    assert teach("--limit", "7", "--out", out) == 2
    assert "other limit" in capsys.readouterr().err
    assert actions(tmp_path / "taught") == before
    assert teach("--limit", "7", "--out", out, "--overwrite") == 0
    assert len(actions(tmp_path / "taught")) == 7


def test_nothing_won_is_a_failure_that_says_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert teach("--limit", "3", "--max-steps", "1", "--out", "none") == 1
    err = capsys.readouterr().err
    assert "None of 3 games was won in 1 steps." in err
    assert f"trajectories show {Path('none/failures.jsonl')}" in err
    assert json.loads(Path("none/summary.json").read_text())["won"] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--teacher", "remote"], "needs --base-url and --model"),
        (["--teacher", "remote", "--base-url", "localhost:1", "--model", "m"], "--base-url is no address"),
        (["--plan"], "Add --teacher remote"),
        (["--temp", "0", "--max-cost", "3"], "Only a remote model knows --temp, --max-cost"),
        (["--solutions", "2", "--attempts", "3"], "knows one way only"),
        (["--solutions", "2", "--attempts", "1"], "knows one way only"),
        (["--attempts", "2"], "knows one way only"),
        (["--teacher", "gold", "--stumbles", "0.2"], "The teacher 'gold' is not made to stumble"),
        (["--stumbles", "1"], "--stumbles"),
        (["--teacher", "oracle"], "There is no teacher 'oracle'"),
        (["--games", "valid_seen"], "'valid_seen' holds no games"),
        (["--env", "tests.teachers.corridor:Unteachable"], "has no teacher of its own"),
        (["--env", "nowhere"], "There is no environment 'nowhere'"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_written(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert teach(*words) == 2
    assert told in capsys.readouterr().err
    assert not Path("runs").exists()


def start(folder: Path) -> "subprocess.Popen[Any]":
    environment = {**os.environ, "PYTHONPATH": str(REPO), "CORRIDOR_STEP_S": "0.02"}
    command = [sys.executable, "-m", "duomem_mlx", "teach", "--env", WORLD, "--out", str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_lines(file: Path, lines: int) -> None:
    for _ in range(600):
        if file.is_file() and file.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.05)
    pytest.fail(f"{file} did not grow")


@pytest.mark.parametrize(("stop", "end"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_run_that_was_stopped_goes_on_to_the_same_end(tmp_path: Path, stop: signal.Signals, end: int) -> None:
    folder = tmp_path / "stopped"
    running = start(folder)
    wait_for_lines(folder / "trajectories.jsonl", 1)
    running.send_signal(stop)
    assert running.wait(30) == end
    told = running.communicate()[1].decode()
    assert end < 0 or "the same command again goes on" in told
    kept = (folder / "trajectories.jsonl").read_bytes()
    assert 0 < kept.count(b"\n") < 32
    (folder / "trajectories.jsonl").write_bytes(kept[:-9])  # as if the last line had been torn

    assert teach("--out", str(folder)) == 0
    assert teach("--out", str(tmp_path / "whole")) == 0
    assert actions(folder) == actions(tmp_path / "whole")
    assert (folder / "trajectories.jsonl").read_bytes().startswith(kept[: kept[:-9].rfind(b"\n") + 1])


class WithSolutions(Corridors):
    """Of every game it says two ways: the wrong one first where its number is odd."""

    def solutions(self, task_id: str) -> list[list[str]]:
        teacher = self.teacher()
        right = list(attempt(self, task_id, teacher, {}, 30).actions)
        return [["sing"], right] if int(task_id.split("/")[1]) % 2 else [right]


def test_solutions_that_came_with_a_game_are_kept_only_if_they_win(tmp_path: Path) -> None:
    words = ["teach", "--env", "tests.cli.test_teach:WithSolutions", "--teacher", "gold", "--limit", "12"]
    assert status(lambda: app([*words, "--out", str(tmp_path / "taught")])) == 0
    won = list(read_trajectories(tmp_path / "taught"))
    assert all(t.won and t.teacher == {"kind": "gold"} for t in won)
    assert any(int(t.game.split("/")[1]) % 2 for t in won)
    assert {t.actions for t in read_trajectories(tmp_path / "taught" / "failures.jsonl")} >= {("sing",)}


class OneAtATime(WithSolutions):
    """It plays a game to find its solutions, and bears one that is open at a time. Of game 2 it knows none."""

    parallel_safe = False
    in_play: Corridor | None = None

    def open(self, task_id: str) -> Corridor:
        world = self

        class Once(Corridor):
            def step(self, action: str) -> str:
                assert world.in_play is self, "another game was opened meanwhile"
                return super().step(action)

        self.in_play = Once(task_id)
        return self.in_play

    def solutions(self, task_id: str) -> list[list[str]]:
        if task_id == "train/2":
            raise KeyError(task_id)
        return super().solutions(task_id)


def test_solutions_are_asked_for_before_their_game_is_opened(tmp_path: Path) -> None:
    words = ["teach", "--env", "tests.cli.test_teach:OneAtATime", "--teacher", "gold"]
    assert status(lambda: app([*words, "--out", str(tmp_path / "taught")])) == 0
    assert len(list(read_trajectories(tmp_path / "taught"))) == 31
    broken = [t for t in read_trajectories(tmp_path / "taught" / "failures.jsonl") if t.end == "environment"]
    assert {t.game for t in broken} == {"train/2"}
    assert broken[0].steps[-1].observation == "The world's `solutions` raised KeyError: 'train/2'."


def test_a_world_without_solutions_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert teach("--teacher", "gold") == 2
    assert "come without solutions" in capsys.readouterr().err
