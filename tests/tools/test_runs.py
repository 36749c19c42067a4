"""Runs with tools as trajectories, and back as the requests that were sent."""

import json
from typing import Any

import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.tools.calls import calls_of, text_of
from duomem_mlx.tools.runs import BROKEN_CALL, NO_ANSWER, NO_MESSAGES, exchanges, run_of
from duomem_mlx.tools.world import ToolRuns
from duomem_mlx.trajectory import from_record, to_record
from tests.tools.made import SYSTEM, TOOLS, record, run


@pytest.mark.parametrize("flat", [False, True])
def test_all_requests_are_there_again(flat: bool) -> None:
    given, found = record(flat=flat), run(flat=flat)
    sent = [{k: v for k, v in m.items() if k != "answered" and v is not None} for m in given["messages"]]
    pairs = list(exchanges(from_record(json.loads(json.dumps(to_record(found))), "it")))
    assert [list(pair.messages) for pair in pairs] == [sent[:2], sent[:4], sent[:6]]
    answers = [m.get("answered", m) for m in given["messages"][2::2]]
    assert [calls_of(pair.answer) for pair in pairs] == [calls_of(answer) for answer in answers]
    assert [text_of(pair.answer) for pair in pairs] == [text_of(answer) for answer in answers]


def test_a_person_reads_calls_and_what_they_gave() -> None:
    found = run()
    assert found.actions[0] == '{"name": "find_code", "arguments": {"city": "Oslo"}}'
    assert [step.thought for step in found.steps] == ["I look.", None, None]
    assert [step.observation for step in found.steps] == ["NO-3", "rain, 7 degrees", ""]
    assert (found.environment, found.won, found.end, found.teacher["model"]) == ("tools", True, "won", "big")
    assert found.game == run(code="NO-4").game != run("Rome").game


def test_an_answer_in_words_is_one() -> None:
    given = record()
    given["messages"][-1] = {"role": "assistant", "content": "It rains."}
    found = run_of(given, True, 1.0, "t")
    assert found.actions[-1] == "It rains."
    assert list(exchanges(found))[-1].answer == {"role": "assistant", "content": "It rains."}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"messages": None}, NO_MESSAGES),
        ({"messages": [7]}, NO_MESSAGES),
        ({"messages": [{"role": "robot", "content": "x"}]}, NO_MESSAGES),
        ({"messages": [{"role": "user", "content": 7}]}, NO_MESSAGES),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [7]}]}, NO_MESSAGES),
        ({"messages": [SYSTEM], "asked": None}, NO_ANSWER),
        ({"messages": [{"role": "assistant", "content": "x"}], "asked": 0}, NO_ANSWER),
        ({"asked": 3}, NO_ANSWER),
        ({"tools": [{"type": "function"}]}, "offers tools that are none (tools.0)"),
    ],
)
def test_what_is_none_is_told(change: Any, reason: str) -> None:
    with pytest.raises(DuomemError) as refused:
        run_of({**record(), **change}, True, 1.0, "t")
    assert refused.value.what == reason


def test_a_broken_call_is_told() -> None:
    given = record()
    given["messages"][-1]["tool_calls"][0]["function"]["arguments"] = "{"
    with pytest.raises(DuomemError) as refused:
        run_of(given, True, 1.0, "t")
    assert refused.value.what == BROKEN_CALL


def test_its_script_says_where_things_came_from_and_names_nothing_of_this_run() -> None:
    assert ToolRuns().describe(run()) == (
        "Call find_code with city from the task; then call weather with code from what find_code gave; "
        "then call final_answer with answer from what weather gave."
    )
    assert ToolRuns().describe(run()) == ToolRuns().describe(run("Rome", "IT-1", flat=True))


def test_nothing_is_played_in_it() -> None:
    assert TOOLS
    with pytest.raises(UsageError, match="no games"):
        ToolRuns().tasks("train")


@pytest.mark.parametrize(
    "said",
    [
        '{"name": "Oslo", "weather": "rain"}',
        '{"name": "Oslo"}',
        '{"name": "weather", "arguments": {"code": "NO-3"}}',
        '{\n  "name": "weather",\n  "parameters": {"code": "NO-3"}\n}',
    ],
)
def test_an_answer_in_words_that_is_json_is_no_call(said: str) -> None:
    given = record()
    given["messages"][-1] = {"role": "assistant", "content": said}
    found = from_record(json.loads(json.dumps(to_record(run_of(given, True, 1.0, "t")))), "it")
    assert [calls_of(one.answer) != [] for one in exchanges(found)] == [True, True, False]
    assert list(exchanges(found))[-1].answer == {"role": "assistant", "content": said}
    assert ToolRuns().describe(found).endswith("answer in words.")
