"""Whole runs against an endpoint that fails in every way, is away, or is asked by a program that is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.cli.main import app, status
from duomem_mlx.teachers.asking import Asker
from duomem_mlx.teachers.attempts import attempts_in
from duomem_mlx.teachers.budget import Budget, Limits
from duomem_mlx.teachers.conversation import Manner, RemoteTeacher
from duomem_mlx.teachers.course import Rules, play_together
from duomem_mlx.teachers.journal import JOURNAL, Journal, fingerprint
from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.remote import Endpoint, RemoteModel
from duomem_mlx.teachers.waiting import Waiting, WaitPolicy
from duomem_mlx.trajectory import Trajectory, read_trajectories
from tests.teachers import endpoint as server
from tests.teachers.corridor import SignedCorridors

REPO = Path(__file__).parents[2]
GAMES = [f"train/{number}" for number in range(40)]
WINNABLE = {game for number, game in enumerate(GAMES) if number % 5}
WIDTH = 8


@pytest.fixture
def far() -> Iterator[server.Endpoint]:
    with server.Endpoint() as running:
        yield running


HASTY = WaitPolicy(first_s=0.01, longest_s=0.1, patience_s=30.0)  # milliseconds where it would wait for seconds


def play(
    folder: Path,
    url: str,
    rules: Rules,
    limits: Limits | None = None,
    games: Sequence[str] = GAMES,
    policy: WaitPolicy = HASTY,
) -> Asker:
    """Eight games at once against `url`."""
    budget = Budget(limits or Limits())
    asker = Asker(
        RemoteModel(Endpoint(url, "big", timeout_s=2.5), server.KEY),
        Journal(folder / JOURNAL, budget),
        budget,
        Waiting(policy),
    )
    world = SignedCorridors()

    def one(game: str, number: int) -> Trajectory:
        teacher = RemoteTeacher(asker, Manner(), world.instructions, game, number)
        return attempt(world, game, teacher, {"kind": "remote", "model": "big"}, 30)

    with attempts_in(folder) as attempts:
        play_together(games, attempts, rules, one, lambda done: None, WIDTH, asker.waiting.clock.stop)
    asker.journal.close()
    return asker


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def paid(folder: Path) -> list[dict[str, Any]]:
    return [line for line in lines(folder / JOURNAL) if "fault" not in line]


def played_tokens(folder: Path) -> int:
    """Tokens of all attempts that are on disk."""
    files = ("trajectories.jsonl", "failures.jsonl", "repeats.jsonl")
    return sum(sum(line["tokens"].values()) for file in files for line in lines(folder / file))


def test_every_fault_for_500_requests_and_more(far: server.Endpoint, tmp_path: Path) -> None:
    faults = (*server.PASSING, *server.SILLY)
    far.choose, far.hang_s = server.mixed(faults, 0.3), 3.5
    asker = play(tmp_path, far.url, Rules(attempts=4))
    assert far.asked >= 500
    assert all(far.faults[name] >= 1 for name in faults)

    won = list(read_trajectories(tmp_path))
    assert Counter(t.game for t in won) == Counter(WINNABLE)  # every game that can be won, once
    assert all(t.won and set(t.actions) == {"walk"} for t in won)
    # Nothing that was paid for is lost: each answer that went out is in the journal, once, and in an attempt.
    answers = far.answered + sum(far.faults[name] for name in server.SILLY)
    assert len(paid(tmp_path)) == answers
    places = Counter((line["game"], line["attempt"], line["turn"]) for line in paid(tmp_path))
    assert set(places.values()) == {1}
    assert played_tokens(tmp_path) == sum(line["tokens_in"] + line["tokens_out"] for line in paid(tmp_path))
    # And each fault is counted.
    counted = asker.budget.faults
    assert counted["http_429"] == far.faults["429"] + far.faults["429 bare"]
    assert counted["timeout"] == far.faults["hang"] + far.faults["drip"]
    assert counted["empty"] == sum(far.faults[name] for name in ("no choices", "null choices", "error as success"))
    assert counted["truncated"] == far.faults["short body"] + far.faults["no json"]
    assert counted["no_action"] == sum(far.faults[name] for name in server.SILLY)
    assert counted["cut"] == far.faults["never stops"] + far.faults["cut action"]
    kinds = sum(count for kind, count in counted.items() if kind not in ("no_action", "cut"))
    assert kinds == sum(far.faults[name] for name in server.PASSING)
    assert not any(server.KEY.encode() in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("limits", "option"),
    [
        (Limits(max_tokens=8_000), "--max-total-tokens"),
        (Limits(price_in=100.0, price_out=1000.0, max_cost=1.5), "--max-cost"),
    ],
)
def test_a_budget_is_kept_to_within_the_requests_under_way(
    far: server.Endpoint, tmp_path: Path, limits: Limits, option: str
) -> None:
    far.choose = server.mixed(("no choices", "429", "no action"), 0.2)
    games = GAMES[:20]
    asker = play(tmp_path, far.url, Rules(attempts=3), limits, games)
    assert asker.reached == option
    used, most = asker.budget.spent, 110 * WIDTH
    if limits.max_tokens:
        assert limits.max_tokens <= used.tokens_in + used.tokens_out <= limits.max_tokens + most
    else:
        assert limits.max_cost is not None
        assert limits.max_cost <= used.cost <= limits.max_cost + 0.02 * WIDTH
    billed = 110 * (far.answered + far.faults["no choices"] + far.faults["no action"])
    assert used.tokens_in + used.tokens_out == billed

    before = paid(tmp_path)
    play(tmp_path, far.url, Rules(attempts=3), games=games)  # with no limit it goes on to the end
    assert {t.game for t in read_trajectories(tmp_path)} == WINNABLE & set(games)
    assert paid(tmp_path)[: len(before)] == before
    assert len(paid(tmp_path)) == far.answered + far.faults["no action"]


@pytest.mark.parametrize(
    ("seconds", "policy"), [(1.0, HASTY), pytest.param(60.0, WaitPolicy(), marks=pytest.mark.slow)]
)
def test_an_endpoint_that_goes_away_and_comes_back(tmp_path: Path, seconds: float, policy: WaitPolicy) -> None:
    first = server.Endpoint()
    port = first.server_address[1]
    came_back: list[server.Endpoint] = []

    def go_away() -> None:
        while first.answered < 40:
            time.sleep(0.005)
        first.__exit__()
        time.sleep(seconds)
        came_back.append(server.Endpoint(port=port).__enter__())

    with first:
        away = threading.Thread(target=go_away)
        away.start()
        asker = play(tmp_path, first.url, Rules(attempts=1), policy=policy)
        away.join()
    came_back[0].__exit__()
    assert {t.game for t in read_trajectories(tmp_path)} == WINNABLE
    assert asker.budget.faults["connection"] >= WIDTH
    assert asker.budget.spent.answers <= first.answered + came_back[0].answered


# -- the command ----------------------------------------------------------------------------------------------

WORDS = ["teach", "--env", "tests.teachers.corridor:SignedCorridors", "--teacher", "remote", "--model", "big"]


def start(folder: Path, url: str, *words: str, **more: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(REPO), "TEACHER_KEY": server.KEY, **more}
    command = [sys.executable, "-m", "duomem_mlx", *WORDS, "--base-url", url, "--api-key-env", "TEACHER_KEY", *words]
    command += ["--out", str(folder)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def slowly(request: dict[str, Any]) -> str:
    time.sleep(0.02)
    return "Action: walk"


def wait_for_answers(far: server.Endpoint, number: int) -> None:
    end = time.monotonic() + 120
    while far.answered < number:
        assert time.monotonic() < end, "the endpoint was not asked"
        time.sleep(0.005)


def test_killed_in_the_middle_it_asks_for_nothing_twice(far: server.Endpoint, tmp_path: Path) -> None:
    far.answer = slowly
    folder, chance, words = tmp_path / "taught", random.Random(3), ("--attempts", "2", "--limit", "24")
    for _ in range(3):
        running = start(folder, far.url, *words)
        wait_for_answers(far, far.answered + chance.randrange(5, 40))
        running.kill()
        running.communicate()
        journal = (folder / JOURNAL).read_bytes()
        known = {
            (line["game"], line["attempt"], line["prompt"])
            for line in map(json.loads, journal[: journal.rfind(b"\n") + 1].splitlines())
        }
        time.sleep(0.3)  # what was under way when it was killed
        far.requests.clear()
    running = start(folder, far.url, *words)
    assert running.wait(180) == 0
    asked = [
        (request["messages"][1]["content"].rpartition(" ")[2].rstrip("."), request["temperature"], request["messages"])
        for request in far.requests
    ]
    again = {(game, 1 if temperature == 0 else 2, fingerprint(messages)) for game, temperature, messages in asked}
    assert len(again) == len(asked)
    assert not again & known
    games = {line["game"] for line in paid(folder)}
    assert len(games) == 24
    assert Counter(t.game for t in read_trajectories(folder)) == Counter(WINNABLE & games)
    places = Counter((line["game"], line["attempt"], line["turn"]) for line in paid(folder))
    assert set(places.values()) == {1}
    assert played_tokens(folder) == 110 * len(paid(folder))


def test_ctrl_c_saves_what_was_played(far: server.Endpoint, tmp_path: Path) -> None:
    far.answer = slowly
    folder = tmp_path / "taught"
    running = start(folder, far.url)
    wait_for_answers(far, 60)
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=120)[1]
    assert running.returncode == 130
    assert "the same command again goes on" in told
    assert "Traceback" not in told
    assert lines(folder / "trajectories.jsonl")
    assert len(paid(folder)) == far.answered  # those under way were waited for


@pytest.mark.parametrize("fault", ["401", "400", "good"])
def test_the_key_is_nowhere(far: server.Endpoint, tmp_path: Path, fault: str) -> None:
    far.choose = lambda number: fault
    far.answer = lambda request: f"Thought: {server.KEY}\nAction: walk"
    folder = tmp_path / "taught"
    running = start(folder, far.url, "--limit", "3", DUOMEM_DEBUG="1", OPENAI_LOG="debug")
    out, err = running.communicate(timeout=120)
    assert running.returncode == (0 if fault == "good" else 1), err
    assert far.headers_seen[0]["authorization"] == f"Bearer {server.KEY}"
    assert server.KEY not in out + err
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) >= 2
    assert not any(server.KEY.encode() in file.read_bytes() for file in files)
    if fault == "401":
        assert "does not take the key" in err


def teach(*words: str) -> int:
    return status(lambda: app([*WORDS, *words]))


def test_what_it_used_is_told_live_and_kept(
    far: server.Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--base-url", far.url, "--limit", "8", "--price-in", "10", "--price-out", "100", "--out", "taught")
    assert teach(*words, "--json") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    tokens = {"tokens_in": 100 * far.answered, "tokens_out": 10 * far.answered}
    assert result["spent"] == {"answers": far.answered, **tokens, "cost": round(0.002 * far.answered, 4)}
    assert result["stopped"] is None
    assert f"{far.answered} answers, {110 * far.answered:,} tokens, cost" in printed.err
    assert json.loads(Path("taught/summary.json").read_text())["spent"] == result["spent"]
    asked = far.asked
    assert teach(*words) == 0  # another call asks for nothing
    assert far.asked == asked
    config = Path("taught/config.json").read_text()
    assert far.url not in config
    assert "price" not in config


def test_a_budget_may_grow_from_call_to_call(
    far: server.Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--base-url", far.url, "--limit", "10", "--attempts", "2", "--out", "taught", "--batch-size", "2")
    assert teach(*words, "--max-total-tokens", "2000") == 0
    assert "--max-total-tokens is reached" in capsys.readouterr().err
    asked = far.asked
    assert asked <= 2000 // 110 + 3
    assert teach(*words, "--max-total-tokens", "100000") == 0
    assert "is reached" not in capsys.readouterr().err
    assert far.asked == len(paid(Path("taught")))


def test_a_plan_says_what_it_takes_and_what_it_played_is_kept(
    far: server.Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--base-url", far.url, "--limit", "6", "--solutions", "2", "--attempts", "4", "--out", "taught")
    words = (*words, "--price-in", "10")
    assert teach(*words, "--plan", "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["games"], planned["probed"]) == (6, 3)
    won = sum(1 for line in lines(Path("taught/trajectories.jsonl")))
    assert planned["least"]["attempts"] == 6 * 2 - won
    assert planned["most"]["attempts"] == 6 * 4 - 3
    share = planned["most"]["attempts"] / 3
    assert planned["most"]["tokens"] == pytest.approx(far.answered * 110 * share, abs=1)
    assert planned["most"]["cost"] == pytest.approx(far.answered * 0.001 * share, abs=0.01)
    assert planned["most"]["hours"] > 0
    asked = far.asked
    assert teach(*words, "--plan") == 0  # the probe was played already
    assert far.asked == asked
    assert "all attempts are needed" in capsys.readouterr().out
    assert teach(*words) == 0
    assert far.asked == len(paid(Path("taught")))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--api-key-env", "NO_SUCH_KEY"], "that --api-key-env names is not set"),
        (["--max-cost", "1"], "no price"),
        (["--temp", "hot"], "--temp is 'hot'"),
        (["--temp", "nan"], "--temp is 'nan'"),
        (["--base-url", "http://me:secret@x/v1"], "--base-url holds more than an address"),
    ],
)
def test_a_wrong_word_is_told_before_anything_is_asked(
    far: server.Endpoint, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert teach("--base-url", far.url, *words) == 2
    err = capsys.readouterr().err
    assert told in err
    assert "secret" not in err
    assert far.asked == 0
    assert not Path("runs").exists()
