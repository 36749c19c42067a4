import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.prompt import Reply
from duomem_mlx.teachers.answers import Answer, Fault, read_body, reply_in, split_thinking


def body(message: Any, finish: str = "stop", **more: Any) -> str:
    return json.dumps({"choices": [{"finish_reason": finish, "message": message}], **more})


@pytest.mark.parametrize(
    ("text", "said", "thought"),
    [
        ("Action: walk", "Action: walk", ""),
        ("<think>a door</think>\nAction: walk", "Action: walk", "a door"),
        ("a door\n</think>\nAction: walk", "Action: walk", "a door"),
        ("<think>one</think>mid<think>two</think> end", "mid end", "one\ntwo"),
        ("<think>Action: jump and on and", "", "Action: jump and on and"),
        ("<think>\n\n</think>\n\nAction: walk", "Action: walk", ""),
        ("<thinking>x</thinking>Action: walk", "Action: walk", "x"),
    ],
)
def test_thoughts_are_kept_apart(text: str, said: str, thought: str) -> None:
    assert split_thinking(text) == (said, thought)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_in_a_field_of_their_own(name: str) -> None:
    answer = read_body(body({"content": "Action: walk", name: "a door"}), 0)
    assert (answer.text, answer.reasoning) == ("Action: walk", "a door")


def test_what_was_used_is_what_the_endpoint_says_or_a_guess() -> None:
    told = read_body(body({"content": "x"}, usage={"prompt_tokens": 7, "completion_tokens": 3}), 400)
    assert (told.tokens_in, told.tokens_out, told.tokens) == (7, 3, 10)
    for usage in (
        None,
        {},
        {"prompt_tokens": None},
        {"prompt_tokens": -1},
        {"prompt_tokens": "7"},
        {"prompt_tokens": 10**400},
        [],
    ):
        guessed = read_body(body({"content": "12345678"}, usage=usage), 401)
        assert (guessed.tokens_in, guessed.tokens_out) == (101, 2)


@pytest.mark.parametrize("text", ["", "{", "nul", "[1]", '"x"', "<html>", '{"choices": [', "[" * 100_000])
def test_what_is_no_whole_object_is_a_fault(text: str) -> None:
    with pytest.raises(Fault) as fault:
        read_body(text, 0)
    assert fault.value.kind == "truncated"
    assert not fault.value.final


@pytest.mark.parametrize(
    "record",
    [{}, {"choices": []}, {"choices": None}, {"choices": [None]}, {"choices": [{}]}, {"choices": {"0": {}}}],
)
def test_no_choice_is_a_fault_that_costs_what_it_says(record: dict[str, Any]) -> None:
    with pytest.raises(Fault) as fault:
        read_body(json.dumps({**record, "usage": {"prompt_tokens": 5, "completion_tokens": 1}}), 0)
    assert (fault.value.kind, fault.value.tokens_in, fault.value.tokens_out) == ("empty", 5, 1)


def test_half_a_surrogate_pair_can_be_written_down() -> None:
    answer = read_body('{"choices": [{"message": {"content": "Action: \\ud83d walk"}}]}', 0)
    assert answer.text.encode() == b"Action: ? walk"


def test_what_is_to_be_blotted_out_hides_behind_no_escape() -> None:
    def clean(text: str) -> str:
        return text.replace("sk-a/b", "[key]")

    said = r'"Bearer sk\u002da\/b"'
    answer = read_body(f'{{"choices": [{{"message": {{"content": {said}, "reasoning": {said}}}}}]}}', 0, clean=clean)
    assert (answer.text, answer.reasoning) == ("Bearer [key]", "Bearer [key]")
    with pytest.raises(Fault, match=r"^Bearer \[key\]$"):
        read_body(f'{{"error": {{"message": {said}}}}}', 0, clean=clean)


def test_content_in_parts() -> None:
    assert read_body(body({"content": [{"type": "text", "text": "Action: "}, {"text": "walk"}]}), 0).text == (
        "Action: walk"
    )


@pytest.mark.parametrize(
    ("text", "cut", "reply"),
    [
        ("Thought: so.\nAction: go to desk 1", False, Reply("go to desk 1", "so.")),
        ("**Thought:** so.\n**Action:** go to desk 1", False, Reply("go to desk 1", "so.")),
        ("**Action**: `go to desk 1`", False, Reply("go to desk 1")),
        ("Action: walk\nObservation: you won\nAction: jump", False, Reply("walk")),
        ("Action: go to desk 1", True, Reply(None, "Action: go to desk 1")),  # of desk 12, maybe
        ("Action: walk\nObservation: you", True, Reply("walk")),
        ("I do not know", False, Reply(None, "I do not know")),
        ("", False, Reply(None)),
        ("Action: ``", False, Reply(None)),
    ],
)
def test_the_action_in_an_answer(text: str, cut: bool, reply: Reply) -> None:
    assert reply_in(Answer(text, None, cut, 1, 1)) == reply


NAMES = st.sampled_from(
    ["choices", "message", "content", "usage", "prompt_tokens", "completion_tokens", "finish_reason", "error", "text"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, VALUES), st.integers(0, 60))
def test_nothing_an_endpoint_sends_is_more_than_a_fault(record: dict[str, Any], cut: int) -> None:
    for text in (json.dumps(record), json.dumps(record)[:cut]):
        try:
            answer = read_body(text, 10)
        except Fault:
            continue
        answer.text.encode()
        reply_in(answer)
