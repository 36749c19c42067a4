import json

from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx import prompt
from duomem_mlx.prompt import Example

ACTIONS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1)


@given(ACTIONS)
def test_a_compact_action_reads_back(action: str) -> None:
    assert prompt.read_compact(prompt.compact_action(action)).action == action


LINES = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])), min_size=2).map("\n".join)


@given(LINES.filter(str.strip), st.none() | ACTIONS)
def test_an_action_of_several_lines_reads_back_in_chat_to_the_last_space(action: str, thought: str | None) -> None:
    reply = prompt.read_chat(f"{prompt.chat_reply(action, thought)}\nObservation: well.\nAction: look")
    assert (reply.action, reply.thought) == (action, thought)


@given(LINES.map(str.strip).filter(lambda text: text and prompt.RETURN not in text))
def test_an_action_of_several_lines_is_one_line_of_compact(action: str) -> None:
    line = prompt.compact_action(action)
    assert line.index("\n") == len(line) - 1
    assert prompt.read_compact(line).action == action


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)
)


@given(st.dictionaries(st.text(), JSON) | st.lists(JSON), st.sampled_from([None, 2]))
def test_json_is_an_action_on_one_line_or_many(value: object, indent: int | None) -> None:
    action = json.dumps(value, indent=indent)
    for reply in (prompt.chat_reply(action), f"Action: {action}\nObservation: so be it"):
        assert prompt.read_chat(reply).action == action
    assert prompt.read_compact(prompt.compact_action(action)).action == action


def test_half_an_action_is_none_and_words_after_json_are_its_line() -> None:
    assert prompt.read_chat("Thought: so\nAction:\n```python\nprint(1)\n").action is None
    assert prompt.read_chat("Action:\n```python\nprint(1)\n```").action == "print(1)"
    assert prompt.read_chat('Action: {"a": 1} and so on').action == '{"a": 1} and so on'
    assert prompt.read_chat('Action: {"a":\n').action == '{"a":'
    assert prompt.read_chat("Action:\n\nAction: look").action == "look"


@given(ACTIONS, st.none() | ACTIONS)
def test_a_chat_reply_reads_back(action: str, thought: str | None) -> None:
    reply = prompt.read_chat(prompt.chat_reply(action, thought))
    assert (reply.action, reply.thought) == (action, thought)


def test_text_after_the_action_is_not_run_over() -> None:
    text = "Thought: hm\nAction: go to bed 1\nObservation: you see a mug\nAction: take mug 1 from bed 1"
    assert prompt.read_chat(text).action == "go to bed 1"
    assert prompt.read_compact(" go to bed 1\nYou arrive.\n> look").action == "go to bed 1"


def test_an_answer_without_an_action_is_none() -> None:
    assert prompt.read_chat("I would like to help.").action is None
    assert prompt.read_compact("\n").action is None


@given(st.text())
def test_an_observation_cannot_pose_as_an_action_line(text: str) -> None:
    lines = prompt.compact_observation(text, prompt.unchanged).split("\n")
    assert [line for line in lines if line.startswith(">")] == [">"]


def test_the_compact_layout() -> None:
    start = prompt.compact_start(
        "a room\n\n\ntask: put mug", [Example("put cup", "Take it.\nPut it.")], prompt.unchanged
    )
    assert start == "Example: put cup\nTake it. Put it.\na room\ntask: put mug\n>"
