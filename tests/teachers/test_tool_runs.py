"""Recorded runs with tools, and who says that they were won."""

import json
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.errors import UsageError
from duomem_mlx.teachers.imports import TWICE
from duomem_mlx.teachers.tool_runs import NO_VERDICT, import_runs
from duomem_mlx.teachers.transcripts import NO_JSON, NO_TEXT, OURS
from duomem_mlx.tools.runs import NO_ANSWER, NO_MESSAGES
from duomem_mlx.trajectory import to_record
from tests.tools.made import record, run


def kept(folder: Path, *records: Any) -> Path:
    file = folder / "runs.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    return file


@pytest.mark.parametrize(
    ("won", "verdicts"),
    [(["all"], [True, True]), (["Oslo-run"], [True, False]), (["kept/Rome-run.jsonl"], [False, True])],
)
def test_the_user_says_which_were_won(won: list[str], verdicts: list[bool], tmp_path: Path) -> None:
    found = import_runs([kept(tmp_path, record(won=False), record("Rome"))], won)
    assert [one.won for one in found.trajectories] == verdicts
    assert [one.end for one in found.trajectories] == ["won" if won else "lost" for won in verdicts]
    assert found.trajectories[0].task == "What is the weather in Oslo?"


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({"won": True}, (True, 1.0)),
        ({"won": False, "score": 1}, (False, 0.0)),
        ({"score": 0.4}, (False, 0.4)),
        ({"reward": 3}, (True, 1.0)),
        ({"reward": -1}, (False, 0.0)),
    ],
)
def test_else_the_record_says_so(said: dict[str, Any], verdict: tuple[bool, float], tmp_path: Path) -> None:
    (one,) = import_runs([kept(tmp_path, record(**said))]).trajectories
    assert (one.won, one.score) == verdict


def test_the_task_is_what_is_told_as_one_else_all_that_is_said_first(tmp_path: Path) -> None:
    given = record()
    given["messages"][1]["content"] = "New task:\nLook at\n  this. "
    assert import_runs([kept(tmp_path, given)], ["all"]).trajectories[0].task == "New task: Look at this."
    given["messages"][1]["content"] = "A room.\nYour task is to: look."
    assert import_runs([kept(tmp_path, given)], ["all"]).trajectories[0].task == "look"


def test_what_cannot_be_taken_is_counted_by_its_reason(tmp_path: Path) -> None:
    file = kept(
        tmp_path,
        record(),
        record(),
        to_record(run()),
        {**record(), "messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": "none"},
        7,
        {"messages": [{"role": "user", "content": "Hello?"}]},
    )
    file.write_text(file.read_text() + "{torn\n")
    found = import_runs([file], ["all"])
    assert len(found.trajectories) == 1
    assert found.left_out == {NO_MESSAGES: 2, TWICE: 1, OURS: 1, NO_TEXT: 1, NO_ANSWER: 1, NO_JSON: 1}
    assert import_runs([kept(tmp_path, record(), record(score="good"))]).left_out == {NO_VERDICT: 2}


def test_an_id_that_is_not_there_and_a_file_that_is_not_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run Bonn-run here"):
        import_runs([kept(tmp_path, record())], ["Bonn-run"])
    with pytest.raises(UsageError, match="cannot be read"):
        import_runs([tmp_path / "gone"], ["all"])


def test_runs_of_one_name_in_two_folders_are_not_taken_for_each_other(tmp_path: Path) -> None:
    files = []
    for folder, city in (("monday", "Oslo"), ("tuesday", "Rome")):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "conversation-1.jsonl")
        files[-1].write_text(json.dumps({**record(city), "id": "conversation-1"}))
    for name in ("tuesday/conversation-1", "tuesday/conversation-1.jsonl", str(files[1])):
        assert [one.won for one in import_runs(files, [name]).trajectories] == [False, True]
    for name in ("conversation-1", "conversation-1.jsonl"):
        with pytest.raises(UsageError, match=r"monday.* and in .*tuesday") as told:
            import_runs(files, [name])
        assert "FOLDER/conversation-1" in str(told.value)
    with pytest.raises(UsageError, match="no run monday/conversation-1 here"):
        import_runs(files[1:], ["monday/conversation-1"])


def test_an_id_may_hold_a_slash(tmp_path: Path) -> None:
    found = import_runs([kept(tmp_path, {**record(), "id": "swe/1"}, {**record("Rome"), "id": "swe/2"})], ["swe/2"])
    assert [one.won for one in found.trajectories] == [False, True]
