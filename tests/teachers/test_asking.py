"""What is asked again, for how long, and what is not: with a clock that only goes when somebody waits."""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.errors import DuomemError
from duomem_mlx.teachers.answers import Answer, Fault
from duomem_mlx.teachers.asking import Asker, GivenUp, Stopped
from duomem_mlx.teachers.budget import Budget, Limits
from duomem_mlx.teachers.journal import Journal, Place
from duomem_mlx.teachers.waiting import Clock, Waiting, WaitPolicy

PLACE = Place("train/1", 1, 0)
ASKED = [{"role": "user", "content": "You are in a corridor."}]
WALK = Answer("Action: walk", None, False, 100, 10, 1.0)


class FakeClock(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.time += seconds


class Scripted:
    """Answers or faults by the time of the clock."""

    def __init__(self, clock: FakeClock, at: Callable[[float], Answer | Fault], takes_s: float = 0.0) -> None:
        self.clock, self.at, self.takes_s = clock, at, takes_s
        self.asked: list[float] = []

    def ask(self, messages: Any, temperature: float | None) -> Answer:
        self.asked.append(self.clock.time)
        found = self.at(self.clock.time)
        self.clock.time += self.takes_s
        if isinstance(found, Fault):
            raise found
        return found


def asker(folder: Path, at: Callable[[float], Answer | Fault], limits: Limits | None = None, **more: Any) -> Asker:
    clock = FakeClock()
    budget = Budget(limits or Limits(), clock.now)
    waiting = Waiting(WaitPolicy(), clock, lambda: 0.5)
    return Asker(Scripted(clock, at, **more), Journal(folder / "answers.jsonl", budget), budget, waiting)


def asked_at(asker: Asker) -> list[float]:
    assert isinstance(asker.model, Scripted)
    return asker.model.asked


@pytest.mark.parametrize("kind", ["connection", "http_503", "timeout", "reset", "truncated", "empty"])
def test_an_endpoint_that_is_away_for_a_minute_is_waited_for(tmp_path: Path, kind: str) -> None:
    found = asker(tmp_path, lambda t: Fault(kind) if t < 60 else WALK)
    assert found.answer(PLACE, ASKED, 0) == (WALK, False)
    assert 60 <= asked_at(found)[-1] <= 120
    assert len(asked_at(found)) < 12  # and is not hammered
    assert found.budget.faults == {kind: len(asked_at(found)) - 1}


def test_one_that_is_away_for_good_is_told_in_the_end(tmp_path: Path) -> None:
    found = asker(tmp_path, lambda t: Fault("connection", "refused") if t else WALK, takes_s=1.0)
    found.answer(PLACE, ASKED, 0)
    with pytest.raises(DuomemError, match=r"does not answer \(connection: refused\). Call again when it is back"):
        found.answer(PLACE._replace(turn=1), ASKED, 0)
    assert 900 <= asked_at(found)[-1] <= 1000


def test_one_that_never_answered_is_told_sooner(tmp_path: Path) -> None:
    found = asker(tmp_path, lambda t: Fault("truncated", "no JSON"))
    with pytest.raises(DuomemError, match=r"does not answer \(truncated: no JSON\). Check --base-url"):
        found.answer(PLACE, ASKED, 0)
    assert 120 <= asked_at(found)[-1] <= 180


def test_two_processes_do_not_play_into_one_folder(tmp_path: Path) -> None:
    first = asker(tmp_path, lambda t: WALK)
    with pytest.raises(DuomemError, match="Another process"):
        asker(tmp_path, lambda t: WALK)
    first.journal.close()
    asker(tmp_path, lambda t: WALK)


def test_one_request_that_fails_while_others_are_answered_is_given_up_alone(tmp_path: Path) -> None:
    found = asker(tmp_path, lambda t: Fault("http_500"))

    def others_too(t: float) -> Fault:
        found.waiting.answered()
        return Fault("http_500")

    found.model.at = others_too  # type: ignore[attr-defined]
    with pytest.raises(GivenUp) as given_up:
        found.answer(PLACE, ASKED, 0)
    assert given_up.value.end == "environment"


def test_retry_after_is_kept_to_by_all(tmp_path: Path) -> None:
    found = asker(tmp_path, lambda t: Fault("http_429", retry_after_s=40.0) if t < 1 else WALK)
    found.answer(PLACE, ASKED, 0)
    assert asked_at(found) == [0.0, 40.5]
    found.waiting._hold_until = found.waiting.clock.now() + 30  # another game was told to wait
    found.answer(PLACE._replace(turn=1), ASKED, 0)
    assert asked_at(found)[-1] == 70.5


def test_an_hour_of_quiet_is_not_waited_for(tmp_path: Path) -> None:
    found = asker(tmp_path, lambda t: Fault("http_429", "slow", retry_after_s=3600.0))
    with pytest.raises(DuomemError, match="asks for 3600 s of quiet"):
        found.answer(PLACE, ASKED, 0)
    assert asked_at(found) == [0.0]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("http_401", "does not take the key"),
        ("http_403", "does not take the key"),
        ("http_402", "wants money"),
        ("http_404", "Check --base-url and --model"),
        ("http_400", "Check --base-url and --model"),
    ],
)
def test_what_no_waiting_mends_is_told_at_once(tmp_path: Path, kind: str, told: str) -> None:
    found = asker(tmp_path, lambda t: Fault(kind, "no", final=True))
    with pytest.raises(DuomemError, match=told):
        found.answer(PLACE, ASKED, 0)
    assert asked_at(found) == [0.0]


def test_a_model_that_takes_no_temperature_is_told_of(tmp_path: Path) -> None:
    found = asker(tmp_path, lambda t: Fault("http_400", "Temperature 0 is not supported", final=True))
    with pytest.raises(DuomemError, match="Add --temp none"):
        found.answer(PLACE, ASKED, 0)


@pytest.mark.parametrize(("kind", "end"), [("context", "context"), ("http_400", "environment")])
def test_a_refusal_after_good_answers_ends_the_attempt_alone(tmp_path: Path, kind: str, end: str) -> None:
    found = asker(tmp_path, lambda t: WALK if t == 0 else Fault(kind, "no", final=True), takes_s=1.0)
    found.answer(PLACE, ASKED, 0)
    with pytest.raises(GivenUp) as given_up:
        found.answer(PLACE._replace(turn=1), ASKED, 0)
    assert given_up.value.end == end
    found.journal.close()
    again = asker(tmp_path, lambda t: Fault(kind, "no", final=True))  # in a new process too
    with pytest.raises(GivenUp):
        again.answer(PLACE._replace(turn=1), ASKED, 0)


def test_a_gateway_that_lost_what_is_behind_it_is_waited_for(tmp_path: Path) -> None:
    found = asker(tmp_path, lambda t: Fault("http_404", final=True) if 0 < t < 60 else WALK, takes_s=1.0)
    found.answer(PLACE, ASKED, 0)
    assert found.answer(PLACE._replace(turn=1), ASKED, 0) == (WALK, False)


@pytest.mark.parametrize(
    ("limits", "option", "answers"),
    [
        (Limits(max_tokens=1000), "--max-total-tokens", 10),
        (Limits(price_in=10.0, price_out=100.0, max_cost=0.01), "--max-cost", 5),
        (Limits(max_hours=0.01), "--max-hours", 36),
        (Limits(price_in=10.0, max_cost=0.0), "--max-cost", 0),
    ],
)
def test_a_budget_ends_it(tmp_path: Path, limits: Limits, option: str, answers: int) -> None:
    found = asker(tmp_path, lambda t: WALK, limits, takes_s=1.0)
    for turn in range(answers):
        found.answer(PLACE._replace(turn=turn), ASKED, 0)
    with pytest.raises(Stopped):
        found.answer(PLACE._replace(turn=answers), ASKED, 0)
    assert found.reached == option
    assert len(asked_at(found)) == answers


def test_what_was_spent_before_counts_and_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    first = asker(tmp_path, lambda t: WALK if t < 3 else Fault("empty", tokens_in=50), takes_s=1.0)
    for turn in range(3):
        first.answer(PLACE._replace(turn=turn), ASKED, 0)
    with pytest.raises(DuomemError):
        first.answer(PLACE._replace(turn=3), ASKED, 0)
    faults = first.budget.faults["empty"]
    first.journal.close()

    again = asker(tmp_path, lambda t: WALK, Limits(max_tokens=331 + faults * 50))
    assert (again.budget.spent.answers, again.budget.spent.tokens_in) == (3, 300 + faults * 50)
    assert again.budget.faults == first.budget.faults
    assert [again.answer(PLACE._replace(turn=turn), ASKED, 0) for turn in range(3)] == [(WALK, True)] * 3
    assert asked_at(again) == []
    other = [{"role": "user", "content": "Another world."}]
    assert again.answer(PLACE, other, 0) == (WALK, False)  # not an answer to this
    with pytest.raises(Stopped):
        again.answer(PLACE._replace(turn=9), ASKED, 0)


def test_an_answer_is_on_disk_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asker(tmp_path, lambda t: WALK)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("duomem_mlx.teachers.journal.os.fsync", full)
    with pytest.raises(DuomemError, match="No space left"):
        found.answer(PLACE, ASKED, 0)
    assert found.journal.find(PLACE, ASKED) is None
    assert found.budget.spent.answers == 0


def test_a_torn_last_line_is_cut_and_another_is_told(tmp_path: Path) -> None:
    found = asker(tmp_path, lambda t: WALK)
    for turn in range(2):
        found.answer(PLACE._replace(turn=turn), ASKED, 0)
    found.journal.close()
    file = tmp_path / "answers.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    again = asker(tmp_path, lambda t: WALK)
    assert again.budget.spent.answers == 1
    again.journal.close()
    file.write_bytes(whole[:9] + b"\n" + whole)
    with pytest.raises(DuomemError, match=r"Line 1 of .* is no answer"):
        asker(tmp_path, lambda t: WALK)
    file.write_text(json.dumps({"format": 99}) + "\n")
    with pytest.raises(DuomemError, match="format 99"):
        asker(tmp_path, lambda t: WALK)


def test_nothing_is_asked_once_it_is_stopped(tmp_path: Path) -> None:
    found = asker(tmp_path, lambda t: Fault("http_503"))
    found.waiting.clock.stop()
    with pytest.raises(Stopped):
        found.answer(PLACE, ASKED, 0)
    assert asked_at(found) == []


def test_answers_that_come_together_are_synced_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asker(tmp_path, lambda t: WALK)
    synced: list[bytes] = []
    fsync = os.fsync

    def slow(handle: int) -> None:
        time.sleep(0.05)
        fsync(handle)
        synced.append((tmp_path / "answers.jsonl").read_bytes())

    monkeypatch.setattr("duomem_mlx.teachers.journal.os.fsync", slow)

    def answer(turn: int) -> bool:
        found.answer(PLACE._replace(turn=turn), ASKED, 0)
        return f'"turn": {turn},'.encode() in synced[-1]  # on disk, whoever saw to it

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(answer, range(20)))
    assert len(synced) < 10
