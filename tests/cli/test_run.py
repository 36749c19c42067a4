"""What `run` prints, in a pipe and as JSON."""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.cli import main
from duomem_mlx.memory import encoder
from duomem_mlx.memory.bank import Bank

from ..memory.hashing import HashingEncoder, memory


@pytest.fixture
def words(bare: list[str]) -> list[str]:
    return ["duomem-mlx", "run", "--games", "generated:3", *bare]


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


def test_the_next_call_knows_what_this_one_was_told(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--games-dir", str(tmp_path / "my games"), "--engine", "fast", "--env", "household", "-k", "3"]
    monkeypatch.setattr(sys, "argv", [*words, *told])
    assert main.status(main.app) == 0
    hint = shlex.split(capsys.readouterr().err.strip().splitlines()[-1])
    assert hint[:5] == ["Next:", "duomem-mlx", "evaluate", "--games", "generated:3"]
    pairs = dict(zip(hint[3::2], hint[4::2], strict=True))
    assert pairs.pop("--limit") == "20"
    assert pairs.pop("--k") == "3"
    given = [*words[2:], *told[:-2]]
    assert pairs == dict(zip(given[::2], given[1::2], strict=True))


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(encoder, "load_encoder", lambda name: HashingEncoder())
    with Bank.create(tmp_path / "bank", HashingEncoder()) as made:
        made.add([memory(f"put some box on shelf {n}") for n in range(3)])
        made.export(tmp_path / "sealed")
    return tmp_path / "bank"


def test_a_bank_learns_from_a_game_once(
    words: list[str], bank: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    learning = [*words, "--memories", str(bank), "-k", "2", "--learn", "vanilla"]
    for time in (1, 2):
        monkeypatch.setattr(sys, "argv", learning)
        assert main.status(main.app) == 0
        said = capsys.readouterr().err
        assert ("1 kept; 4 memories" if time == 1 else "nothing new; 4 memories") in said
        with Bank.open(bank) as opened:
            assert sorted(one.uses for one in opened) == [0, 0, 1, 1]
            (new,) = (one for one in opened if one.source.game == "generated:3")
            assert not new.source.won
            assert (new.uses, new.strength, new.source.teacher) == (0, 1, words[words.index("--model") + 1])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--memories", "sealed", "--learn", "vanilla"], "is sealed"),
        (["--memories", "none", "--learn", "vanilla"], "no bank here that could learn"),
        (["--memories", "bank", "--learn", "wild"], "There is no growth 'wild'"),
    ],
)
def test_what_cannot_learn_is_told(
    words: list[str],
    bank: Path,
    more: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [*words, *more])
    assert main.status(main.app) == 2
    assert says in capsys.readouterr().err


def test_arms_are_played_one_beside_the_other_and_why_a_memory_came_is_told(
    call: Any, words: list[str], bank: Path
) -> None:
    more = [*words[1:], "--memories", str(bank), "-k", "2", "--why", "--arm", "base", "--arm", "memories"]
    status, out, err = call(*more)
    assert status == 0, err
    assert out.index("── base ──") < out.index("── memories ──") < out.index("Memory   ")
    assert out.count("  why    in common: ") == 2
    assert "counts most: " in out
    assert out.count("tokens/s)") == 2
    record = json.loads(call(*more, "--json")[1])
    assert list(record["arms"]) == ["base", "memories"]
    assert record["arms"]["base"]["memories"] == []
    for one in record["arms"]["memories"]["memories"]:
        assert set(one["matched"]) <= set(record["task"].split()) & set(one["task"].split())
        assert [word for word, _ in one["weights"]] == re.findall(r"\w+", record["task"])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--arm", "duomem"], "The arm duomem needs the adapter and there is none."),
        (["--arm", "memories"], "The arm memories needs the memories and there is none."),
        (["--arm", "own-memories"], "`run` plays no arm 'own-memories'. Use one of base, memories, adapter, duomem."),
    ],
)
def test_an_arm_that_cannot_be_played_is_told(call: Any, words: list[str], more: list[str], says: str) -> None:
    status, _, err = call(*words[1:], *more)
    assert status == 2
    assert says in err
