"""The protocol against a real server of another house: mlx_lm's, with the default student behind it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from duomem_mlx.cli.main import app, status
from duomem_mlx.trajectory import read_trajectories
from tests.loopback import need_loopback

REPO = Path(__file__).parents[2]
SERVE = "from duomem_mlx.blas import load_openblas; load_openblas(); from mlx_lm.server import main; main()"


@pytest.fixture
def served(student_weights: Path, tmp_path: Path) -> Iterator[str]:
    from duomem_mlx.student.models import student_folder

    need_loopback()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = ["--model", str(student_folder()), "--host", "127.0.0.1", "--port", port, "--log-level", "ERROR"]
    log = tmp_path / "server.log"
    with log.open("wb") as told:
        running = subprocess.Popen(
            [sys.executable, "-c", SERVE, *words],
            env={**os.environ, "PYTHONPATH": str(REPO)},
            stdout=told,
            stderr=subprocess.STDOUT,
        )
        try:
            end = time.monotonic() + 180
            while not answers(f"http://127.0.0.1:{port}/health"):
                assert running.poll() is None, log.read_text()
                assert time.monotonic() < end, "the server did not come up"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            running.kill()
            running.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def test_it_plays_against_mlx_lms_server(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["teach", "--teacher", "remote", "--base-url", served, "--model", "default_model", "--env"]
    words += ["tests.teachers.corridor:SignedCorridors", "--limit", "2", "--attempts", "1", "--max-steps", "1"]
    words += ["--max-tokens", "6", "--out", "taught", "--json"]
    ended = status(lambda: app(words))
    err = capsys.readouterr().err
    played = [
        trajectory
        for name in ("trajectories.jsonl", "failures.jsonl")
        if (file := Path("taught") / name).is_file() and file.stat().st_size
        for trajectory in read_trajectories(file)
    ]
    assert len(played) == 2, err
    assert ended == (0 if any(t.won for t in played) else 1), err
    journal = [json.loads(line) for line in Path("taught/answers.jsonl").read_text().splitlines()]
    assert not [line for line in journal if "fault" in line]
    assert all(line["text"] and line["tokens_in"] > 20 and 0 < line["tokens_out"] <= 6 for line in journal)
    assert sum(t.tokens["in"] for t in played if t.tokens) == sum(line["tokens_in"] for line in journal)
    for trajectory in played:
        assert trajectory.teacher == {"kind": "remote", "model": "default_model", "temperature": 0.0}
        assert trajectory.end in ("won", "lost", "steps")
