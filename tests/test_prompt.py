from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx import prompt
from duomem_mlx.prompt import Example

ACTIONS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1)


@given(ACTIONS)
def test_a_compact_action_reads_back(action: str) -> None:
    assert prompt.read_compact(prompt.compact_action(action)).action == action


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
