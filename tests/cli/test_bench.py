"""`bench` on a tiny student, as a table and as JSON; wrong words."""

import json
import os
import sys

import pytest

from duomem_mlx.cli import bench, main
from duomem_mlx.errors import DuomemError


@pytest.fixture
def words(bare: list[str]) -> list[str]:
    return ["duomem-mlx", "bench", "--limit", "2", *bare]


def test_json_has_every_figure_and_what_it_was_measured_on(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[list[str]] = []
    start_one = bench.started
    monkeypatch.setattr(bench, "started", lambda call, env: calls.append(call) or start_one(call, env))
    monkeypatch.setattr(sys, "argv", [*words, "--json"])
    assert main.status(main.app) == 0
    assert "--games" not in calls[0]  # it starts in the game that a `run` of the same words would
    record = json.loads(capsys.readouterr().out)
    assert {"chip", "ram_gb", "system", "power", "mlx", "mlx_lm"} <= record["machine"].keys()
    assert (record["dtype"], record["bits"], record["adapter"], record["memories"]) == ("float32", None, None, None)
    assert [found["tokens"] for found in record["prefill"]] == [128, 512, 1024]
    assert [found["batch"] for found in record["decode"]] == [1, 4, 16]
    assert record["play"]["games"] == 2
    assert record["play"]["turns"] == 4
    (start,) = record["cold_start"].values()
    assert 0 < start["first_action_seconds"] < start["process_seconds"] + 0.02  # a process knows its start to 0.01 s
    assert sum(start["first_action_parts"].values()) == pytest.approx(start["first_action_seconds"], abs=0.01)
    assert record["peak_resident_bytes"] > record["peak_array_bytes"] > 0


def test_a_person_gets_a_table_that_can_be_pasted(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*words, "--no-cold-start", "--limit", "0"])
    assert main.status(main.app) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split()[0] for line in lines[:6]] == [
        "machine",
        "system",
        "versions",
        "student",
        "adapter",
        "memories",
    ]
    assert "first action" not in printed.out
    assert "a game" not in printed.out
    figures = [line for line in lines if "tokens/s" in line]
    assert len(figures) == 6
    assert len({line.index("tokens/s") for line in figures}) == 1


def test_a_model_that_is_not_there_and_a_start_that_fails_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["duomem-mlx", "bench", "--model", "gone", "--adapter", "none"])
    assert main.status(main.app) == 2
    assert "There is no model gone" in capsys.readouterr().err
    with pytest.raises(DuomemError, match=r"A cold start failed\. There is no environment 'attic'") as error:
        bench.started(["run", "--env", "attic"], os.environ)
    assert "--no-cold-start" in error.value.fix


def test_the_cold_calls_are_those_of_a_user() -> None:
    assert bench.cold_calls({}, None, None, "none", 4, None).keys() == {"without memories"}
    calls = bench.cold_calls({"--env": None, "--games": "embedded"}, "m", "a", "b", 3, None)
    shared = ["run", "--json", "--max-steps", "1", "--games", "embedded", "--model", "m", "--adapter", "a"]
    assert calls == {
        "without memories": [*shared, "--memories", "none"],
        "with memories": [*shared, "-k", "3", "--memories", "b"],
    }
