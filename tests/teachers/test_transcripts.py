import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.errors import UsageError
from duomem_mlx.teachers import transcripts
from duomem_mlx.teachers.transcripts import (
    MESSAGES,
    NO_ACTION,
    NO_FORMAT,
    NO_JSON,
    NO_TEXT,
    REACT,
    SHAREGPT,
    TAGGED,
    TOO_LARGE,
    Said,
    Transcript,
    Turn,
    read_transcripts,
    task_told,
    turns_of,
)


def read(tmp_path: Path, content: Any, form: str | None = None) -> tuple[list[Transcript], Counter[str]]:
    file = tmp_path / "theirs"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    left_out = Counter[str]()
    return list(read_transcripts(file, form, left_out)), left_out


def answers(*texts: str) -> list[Said]:
    return [one for text in texts for one in (Said(True, text), Said(False, "OK."))]


OPENAI = {
    "messages": [
        {"role": "system", "content": "Act."},
        {"role": "user", "content": "A room."},
        {"role": "user", "content": "Your task is to: sit."},
        {"role": "assistant", "content": "sit down"},
    ],
    "id": "g/1",
    "meta": {"game_file": "x/g/1", "model": "big"},
}


def test_messages_with_their_names(tmp_path: Path) -> None:
    (one,), left_out = read(tmp_path, json.dumps(OPENAI))
    assert one.said == (Said(False, "A room.\nYour task is to: sit."), Said(True, "sit down"))
    assert (one.names, one.model, one.format) == (("g/1", "x/g/1"), "big", MESSAGES)
    assert not left_out
    (bare,), _ = read(tmp_path, json.dumps(OPENAI["messages"]))
    assert bare.said == one.said


def test_lines_arrays_and_single_values_are_read_alike(tmp_path: Path) -> None:
    for content in (f"{json.dumps(OPENAI)}\n" * 2, json.dumps([OPENAI, OPENAI], indent=1)):
        assert len(read(tmp_path, content)[0]) == 2


def test_conversations_of_sharegpt(tmp_path: Path) -> None:
    record = {"conversations": [{"from": "human", "value": "A room."}, {"from": "gpt", "value": "Action: sit"}]}
    (one,), _ = read(tmp_path, json.dumps(record))
    assert (one.said, one.format) == ((Said(False, "A room."), Said(True, "Action: sit")), SHAREGPT)
    assert read(tmp_path, json.dumps(record), MESSAGES)[1] == {NO_FORMAT: 1}


def test_text_is_cut_where_a_task_is_told(tmp_path: Path) -> None:
    one = "A room.\n\nYour task is to: sit.\n\n> think: where?\nOK.\n> sit\nYou sit.\n\n"
    games, _ = read(tmp_path, one + "=====\n" + one.replace("sit", "stand"))
    assert [game.format for game in games] == [REACT, REACT]
    assert [[turn.action for turn in turns_of(game.said)] for game in games] == [["sit"], ["stand"]]
    tagged = "Your task is to: sit.\n<think>So.</think>\n<action>sit</action>\nYou sit."
    (game,), _ = read(tmp_path, tagged)
    assert (game.format, turns_of(game.said)) == (TAGGED, [Turn("sit", "So.", "You sit.")])


def test_of_a_text_in_a_record_the_last_game_is_meant(tmp_path: Path) -> None:
    text = "Your task is to: sit.\n> sit\nYou sit.\nYour task is to: stand.\n> stand\n"
    (game,), _ = read(tmp_path, json.dumps({"prompt": text, "id": "g"}))
    assert turns_of(game.said) == [Turn("stand", None, "")]
    assert game.names == ("g",)


@pytest.mark.parametrize(
    ("answer", "action", "thought"),
    [
        ("Thought: the box.\nAction: go to sofa 1\nObservation: You are there.", "go to sofa 1", "the box."),
        ("THOUGHT: x\nACTION: open safe 1", "open safe 1", "x"),
        ("<think>the\nbox</think><action> go to sofa 1. </action>", "go to sofa 1", "the\nbox"),
        ("> go to sofa 1", "go to sofa 1", None),
        ("go to sofa 1.\nThen I rest.", "go to sofa 1.\nThen I rest.", None),  # if that fails its first line is tried
        ('`{"go": [1, 2]}`', '{"go": [1, 2]}', None),
        ('say "hello"', 'say "hello"', None),
        ("<think>hm</think>\ngo to sofa 1", "go to sofa 1", "hm"),
    ],
)
def test_an_answer_is_read_in_its_own_way(answer: str, action: str, thought: str | None) -> None:
    assert turns_of(answers(answer)) == [Turn(action, thought, "OK.")]


def test_thoughts_that_stand_alone_belong_to_the_next_action() -> None:
    assert turns_of(answers("think: first", "think: second", "sit", "think: never done")) == [
        Turn("sit", "first\nsecond", "OK.")
    ]
    labelled = turns_of(answers("I wonder.", "Thought: so\nAction: sit"))
    assert labelled == [Turn("sit", "I wonder.\nso", "OK.")]
    assert [turn.action for turn in turns_of(answers("<action>", "</action>", "<action>sit</action>"))] == ["sit"]


def test_the_task_is_what_is_told() -> None:
    assert task_told("A room.\nYour task is to: put some box on sofa.\n") == "put some box on sofa"
    assert task_told("Task: sit") == "sit"
    assert task_told("a multitask: no") is None
    assert task_told("The task is hard.") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"messages": [', NO_JSON),
        (b"[" * 100_000, NO_JSON),
        (b'{"a": ' * 100_000, NO_JSON),
        (b"[1]", NO_FORMAT),
        (b'{"messages": 3}', NO_FORMAT),
        (b'{"messages": [3]}', NO_FORMAT),
        (b'{"messages": [{"role": 3, "content": "x"}]}', NO_FORMAT),
        (b'{"messages": [{"role": "assistant", "content": {"a": 1}}]}', NO_FORMAT),
        (b'{"messages": []}', NO_ACTION),
        (b'{"text": "A room."}', NO_ACTION),
        (b'{"messages": [{"role": "assistant", "content": "\\ud800"}]}', NO_TEXT),
    ],
)
def test_what_cannot_be_read_is_counted(tmp_path: Path, content: bytes, reason: str) -> None:
    games, left_out = read(tmp_path, content + b"\n")
    assert games == []
    assert left_out == {reason: 1}


def test_a_game_without_end_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "_MOST_CHARACTERS", 20)
    assert read(tmp_path, json.dumps(OPENAI))[1] == {TOO_LARGE: 1}


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    games, left_out = read(tmp_path, f'{json.dumps(OPENAI)}\n{{"mess\n{json.dumps(OPENAI)}\n')
    assert (len(games), left_out) == (2, {NO_JSON: 1})


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_transcripts(tmp_path / "none", None, Counter()))
    with pytest.raises(UsageError, match="no format 'poem'"):
        read(tmp_path, "x", "poem")
    with pytest.raises(UsageError, match="is not UTF-8"):
        read(tmp_path, b"\xff\xfe\x00")
    assert read(tmp_path, "just prose")[0] == []


def test_hostile_text_is_read_in_good_time(tmp_path: Path) -> None:
    for text in (
        "<think><action>" * 60_000,
        "action" + " " * 900_000,
        "task" * 200_000,
        "> " * 400_000,
        "\n" * 900_000,
    ):
        for record in ({"text": text}, {"messages": [{"role": "assistant", "content": text}] * 2}):
            games, _ = read(tmp_path, json.dumps(record))
            for game in games:
                turns_of(game.said)


SEVERAL = '{\n  "say": "hello.",\n\n  "to": ["all"]\n}'
SCRIPT = "for n in range(2):\n    go(n)"


@pytest.mark.parametrize("action", [SEVERAL, SCRIPT])
@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "Thought: so.\nAction:\n```json\n{}\n```\nand so on",
        "<think>so</think>\n<action>\n{}\n</action>",
        "```\n{}\n```",
    ],
)
def test_an_action_of_several_lines_is_kept_whole(action: str, form: str) -> None:
    (turn, *_) = turns_of(answers(form.replace("{}", action)))
    assert turn.action == action


def test_so_is_one_in_a_text(tmp_path: Path) -> None:
    inline = f"Your task is to: sit.\n> {SEVERAL}\nYou speak.\nAction:\n```\n{SCRIPT}\n```\nYou go.\n> sit⏎down\nDone."
    (game,), _ = read(tmp_path, inline)
    assert [(turn.action, turn.observation) for turn in turns_of(game.said)] == [
        (SEVERAL, "You speak."),
        (SCRIPT, "You go."),
        ("sit\ndown", "Done."),
    ]


def test_what_only_begins_like_one_takes_its_line_alone(tmp_path: Path) -> None:
    (game,), _ = read(tmp_path, "Your task is to: sit.\n> [look]\nA room.\n> {torn\nNothing.\nAction:\n```\nopen")
    assert [turn.action for turn in turns_of(game.said)] == ["[look]", "{torn"]


def test_the_first_of_several_lines_is_tidied_as_a_line() -> None:
    assert transcripts.first_line("\n> go to desk 1.\nYou arrive.") == "go to desk 1"
    assert transcripts.first_line("sit") == "sit"
