"""Runs of an agent with tools, between the messages of a client and a trajectory.

A step is one answer: its calls as lines of JSON, or what was said where there are none. `request` is what the first
answer was given to, and each step's `sent` is what the next request added: the answer, in the client's own words, and
what came of it. So all requests can be put together again just as they were sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duomem_mlx.errors import DuomemError
from duomem_mlx.paths import digest
from duomem_mlx.tools.calls import ANSWERED, Call, Message, action_of, answer_message, calls_of, read_lines, text_of
from duomem_mlx.tools.offered import BadTools, Offered, offered_in
from duomem_mlx.trajectory import Step, Trajectory

NAME = "tools"
SPLIT = "train"
ROLES = ("system", "developer", "user", "assistant", "tool")

NO_ANSWER = "holds no answer"
NO_MESSAGES = "holds no messages of OpenAI's kind"
BROKEN_CALL = "holds a call of a tool that is broken"


@dataclass(frozen=True)
class Exchange:
    """A request of a run, and its answer."""

    messages: tuple[Message, ...]
    answer: Message


def run_of(record: Mapping[str, Any], won: bool, score: float, task: str) -> Trajectory:
    """The trajectory of a record with `messages` and `tools`. Raises DuomemError whose `what` is why it is none."""
    messages = _messages_of(record)
    asked = record.get("asked")
    if not isinstance(asked, int):
        asked = next((n for n, message in enumerate(messages) if message["role"] == "assistant"), 0)
    places = [n for n, message in enumerate(messages) if n >= asked and message["role"] == "assistant"]
    if not places or places[0] != asked or asked == 0:
        raise DuomemError(NO_ANSWER)
    tools = record.get("tools") or []
    try:
        offered_in({"tools": tools})
    except BadTools as error:
        raise DuomemError(f"offers tools that are none ({error.field})") from None
    request = {"messages": [_plain(message) for message in messages[:asked]], "tools": tools}
    ends = [*places[1:], len(messages)]
    steps = tuple(
        _step(messages[place:end], last=end == len(messages)) for place, end in zip(places, ends, strict=True)
    )
    model = record.get("model")
    return Trajectory(
        environment=NAME,
        game=digest([_plain(message) for message in messages[:asked]])[:16],
        split=SPLIT,
        kind="",
        task=task,
        opening=next((text_of(message) for message in messages[:asked] if message["role"] == "user"), ""),
        steps=steps,
        won=won,
        score=score,
        end="won" if won else "lost",
        teacher={"kind": "imported", **({"model": model[:200]} if isinstance(model, str) else {})},
        seconds=0.0,
        request=request,
    )


def exchanges(trajectory: Trajectory) -> Iterator[Exchange]:
    """All requests of a run, as they were sent, with their answers. Raises DuomemError for what is no such run."""
    if trajectory.request is None:
        raise DuomemError(f"Trajectory {trajectory.id} is no run with tools.", "Import it with --env tools.")
    messages = tuple(trajectory.request["messages"])
    for step in trajectory.steps:
        calls = calls_in(trajectory, step)
        said = (step.thought or "") if calls else step.action
        yield Exchange(messages, answer_message(said, calls or (), new_id="000000000".strip))
        messages += tuple(step.sent or ())


def calls_in(trajectory: Trajectory, step: Step) -> list[Call] | None:
    """The calls a step of a run is; None where something was said instead, JSON included."""
    with_tools = trajectory.request is not None and trajectory.request["tools"]
    return read_lines(step.action) if with_tools and not step.words else None


def offered(trajectory: Trajectory) -> Offered | None:
    """The tools of a run."""
    return offered_in(trajectory.request or {})


def _step(messages: Sequence[Message], last: bool) -> Step:
    first, rest = messages[0], messages[1:]
    answer = first.get(ANSWERED) or first
    calls = calls_of(answer)
    if calls is None:
        raise DuomemError(BROKEN_CALL)
    said = text_of(answer).strip()
    observed = "\n".join(text_of(message) for message in rest)
    sent = None if last and not rest else (_plain(first), *(_plain(message) for message in rest))
    if calls:
        return Step(action_of(calls), observed, said or None, sent=sent)
    return Step(said, observed, sent=sent, words=None if read_lines(said) is None else True)


def _messages_of(record: Mapping[str, Any]) -> list[Message]:
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DuomemError(NO_MESSAGES)
    for message in messages:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise DuomemError(NO_MESSAGES)
        content, calls, answered = message.get("content"), message.get("tool_calls"), message.get(ANSWERED)
        if not (content is None or isinstance(content, str) or _are_objects(content)):
            raise DuomemError(NO_MESSAGES)
        if not (calls is None or _are_objects(calls)) or not (answered is None or isinstance(answered, Mapping)):
            raise DuomemError(NO_MESSAGES)
    return messages


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(inner, Mapping) for inner in value)


def _plain(message: Message) -> dict[str, Any]:
    """The message as a client sends it."""
    return {name: value for name, value in message.items() if name != ANSWERED and value is not None}
