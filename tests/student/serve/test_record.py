"""Conversations on disk, and back as trajectories."""

import json
from collections import Counter
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemError
from duomem_mlx.student.serve.record import Record
from duomem_mlx.teachers.transcripts import MESSAGES, read_transcripts, turns_of
from tests.student.serve.served import NAME, tiny_server
from tests.student.serve.test_app import ask, streamed, text_of

ROOM = {"role": "user", "content": "A room.\nYour task is to: look."}


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def lines(folder: Path) -> list[dict[str, object]]:
    found = []
    for path in sorted(folder.iterdir()):
        text = path.read_text()
        assert text.endswith("\n")
        assert text.count("\n") == 1
        found.append(json.loads(text))
    return found


def test_a_conversation_grows_in_its_place(tmp_path: Path) -> None:
    record = Record(tmp_path, NAME)
    record.add([ROOM], said("assistant", " look around"), ["m1"])
    talk = [ROOM, said("assistant", "look around"), said("user", "You see a box.")]
    record.add(talk, said("assistant", "look at box"), ["m1"])
    (line,) = lines(tmp_path)
    assert line["messages"] == [*talk, said("assistant", "look at box")]
    assert line["task"] == "look"
    assert (line["model"], line["memories"]) == (NAME, ["m1"])


def test_another_one_begins_where_nothing_goes_on(tmp_path: Path) -> None:
    record = Record(tmp_path, NAME)
    for answer in ("look", "look", "wait"):
        record.add([ROOM], said("assistant", answer), [])
    assert len(lines(tmp_path)) == 3
    record.add([said("system", "Be brief."), ROOM], said("assistant", "look"), [])
    assert len(lines(tmp_path)) == 4


def test_it_goes_on_after_a_restart_and_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "conversation-0123456789abcdef.jsonl").write_text("{torn")
    (tmp_path / "notes.txt").write_text("mine")
    Record(tmp_path, NAME).add([ROOM], said("assistant", "look"), [])
    Record(tmp_path, NAME).add(
        [ROOM, said("assistant", "look"), said("user", "A box.")], said("assistant", "take box"), []
    )
    assert len(list(tmp_path.iterdir())) == 3


def test_the_task_is_the_one_that_the_client_names(tmp_path: Path) -> None:
    talk, named = [said("user", "A room.")], {"X-DuoMem-Task": "listen"}
    with tiny_server(record=Record(tmp_path, NAME)) as (url, _):
        first = ask(url, talk, extra_headers=named).choices[0].message.content
        ask(url, [*talk, said("assistant", first), said("user", "A box.")])
    (line,) = lines(tmp_path)
    assert line["task"] == "listen"
    assert len(line["messages"]) == 4


def test_what_is_kept_can_be_imported(tmp_path: Path) -> None:
    record = Record(tmp_path, NAME)
    record.add([said("system", "Act."), ROOM], said("assistant", "Thought: so be it.\nAction: look"), [])
    left_out = Counter[str]()
    (transcript,) = read_transcripts(next(tmp_path.iterdir()), None, left_out)
    assert not left_out
    assert transcript.format == MESSAGES
    assert [(turn.action, turn.thought) for turn in turns_of(transcript.said)] == [("look", "so be it.")]


def called(id_: str, place: str) -> dict[str, object]:
    function = {"name": "go", "arguments": json.dumps({"place": place})}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": id_, "type": "function", "function": function}]}


def test_calls_that_a_client_says_back_in_its_own_words_are_kept_with_both(tmp_path: Path) -> None:
    first, second = called("abc123", "sofa"), called("def456", "bed")
    own = said("assistant", "Calling:\n[{'id': 'abc123', 'name': 'go', 'arguments': {'place': 'sofa'}}]")
    talk = [ROOM, own, said("user", "A sofa.")]
    Record(tmp_path, NAME).add([ROOM], first, [], [{"type": "function"}])
    Record(tmp_path, NAME).add([ROOM], called("xyz789", "sofa"), [])  # another run, at the same time
    record = Record(tmp_path, NAME)
    record.add(talk, second, [], [{"type": "function"}])
    longer = [*talk, second, {"role": "tool", "tool_call_id": "def456", "content": "A bed."}]
    path = record.add(longer, said("assistant", "Done."), [], [{"type": "function"}])
    assert len(lines(tmp_path)) == 2
    line = json.loads(path.read_text())
    answered = {**first, "content": ""}
    assert line["messages"][1] == {**own, "answered": answered}
    assert [message["content"] for message in line["messages"][2:]] == ["A sofa.", "", "A bed.", "Done."]
    assert line["messages"][3]["tool_calls"] == second["tool_calls"]
    assert (line["asked"], line["tools"]) == (1, [{"type": "function"}])


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DuomemError, match="cannot be written"):
        Record(tmp_path / "file" / "folder", NAME)


def test_a_server_keeps_what_it_says(tmp_path: Path) -> None:
    with tiny_server(record=Record(tmp_path, NAME)) as (url, _):
        first = ask(url, [ROOM]).choices[0].message.content
        talk = [ROOM, said("assistant", first), said("user", "A box.")]
        second = text_of(streamed(url, talk))
        (line,) = lines(tmp_path)
        assert line["messages"] == [*talk, said("assistant", second)]


def test_an_answer_is_given_though_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DuomemError("The disk is full.")

    monkeypatch.setattr(Record, "add", full)
    with tiny_server(record=Record(tmp_path, NAME)) as (url, made):
        assert ask(url, [ROOM]).choices[0].message.content == made.greedy([ROOM], 24)
