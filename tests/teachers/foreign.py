"""A game that was won, written down as others write: the same said in every format that is read."""

import json
from typing import Any

from duomem_mlx.trajectory import Trajectory

EXAMPLE = [
    ("human", "You are in a hall.\n\nYour task is to: put some hat on rack."),
    ("gpt", "Thought: I take it.\nAction: take hat 1 from rack 1"),
    ("human", "Observation: Nothing happened."),
    ("gpt", "Thought: Again.\nAction: put hat 1 in/on rack 1"),
]


def old_verb(action: str) -> str:
    """As trajectories before ALFWorld 0.4 said it."""
    verb, _, rest = action.partition(" ")
    thing, to, place = rest.partition(" to ")
    return f"put {thing} in/on {place}" if verb == "move" and to else action


def opening_of(t: Trajectory) -> str:
    """Without the banner, as most records have it."""
    return t.opening.replace("-= Welcome to TextWorld, ALFRED! =-", "").strip()


def as_messages(t: Trajectory, **fields: Any) -> dict[str, Any]:
    """OpenAI's, an answer with `Action:`; the last observation is not told."""
    messages = [
        {"role": "system", "content": "You act in a household."},
        {"role": "user", "content": [{"type": "text", "text": opening_of(t)}]},
    ]
    for number, step in enumerate(t.steps):
        messages.append(
            {"role": "assistant", "content": f"Thought: Step {number}.\nAction: {step.action}\nObservation: no"}
        )
        messages.append({"role": "user", "content": step.observation})
    return {"messages": messages[:-1], "model": "big", **fields}


def as_sharegpt(t: Trajectory, **fields: Any) -> dict[str, Any]:
    """ETO's: instruction and "OK", an example of another game, the old verb."""
    said = [("human", "Interact with a household. Your output: Thought, Action."), ("gpt", "OK"), *EXAMPLE]
    said.append(("human", opening_of(t)))
    for number, step in enumerate(t.steps):
        said.append(("gpt", f"Thought: Step {number}.\nAction: {old_verb(step.action)}"))
        said.append(("human", f"Observation: {step.observation}"))
    return {"conversations": [{"from": who, "value": text} for who, text in said], **fields}


def as_react(t: Trajectory) -> str:
    """ReAct's: thoughts are acts of their own, answered with "OK."."""
    turns = [
        f"> think: Step {number}.\nOK.\n> {old_verb(step.action)}\n{step.observation}"
        for number, step in enumerate(t.steps)
    ]
    return "\n".join([opening_of(t), *turns]) + "\n"


def as_tagged(t: Trajectory) -> str:
    turns = [
        f"<think>\nStep {number}.\n</think>\n<action>{step.action}</action>\n{step.observation}"
        for number, step in enumerate(t.steps)
    ]
    return "\n".join([opening_of(t), *turns]) + "\n"


def as_tagged_messages(t: Trajectory, **fields: Any) -> dict[str, Any]:
    """Tags in messages, as reinforcement learners keep them."""
    record = as_messages(t, **fields)
    for message in record["messages"]:
        if message["role"] == "assistant":
            thought, action, _ = message["content"].split("\n")
            message["content"] = f"<think>{thought[9:]}</think>\n<action>{action[8:]}</action>"
    return record


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)
