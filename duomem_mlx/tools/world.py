"""The environment of runs with tools: none to be played in, but what is told of a run so that it helps in another."""

import json
from collections.abc import Sequence
from typing import Any

from duomem_mlx.errors import UsageError
from duomem_mlx.tools import runs
from duomem_mlx.tools.calls import Call
from duomem_mlx.trajectory import Trajectory

FIX = "Record runs with `duomem-mlx serve --record`, and serve what is made of them."
_MOST_CHARACTERS = 60  # of a value that is told as it is


class ToolRuns:
    """Recorded runs of an agent with tools; who plays them anew is the user's own agent."""

    name = runs.NAME
    instructions = ""

    def tasks(self, split: str) -> Sequence[str]:
        raise UsageError("Runs with tools have no games that could be played here.", FIX)

    def open(self, task_id: str) -> Any:
        raise UsageError("Runs with tools have no games that could be played here.", FIX)

    def describe(self, trajectory: Trajectory) -> str:
        """Which tools were called in which order, and where what they were given came from: the task, or what an
        earlier one gave. What came from neither is told as it is."""
        known = [("the task", f"{trajectory.task}\n{trajectory.opening}")]
        said = list[str]()
        for step in trajectory.steps:
            calls = runs.calls_in(trajectory, step)
            said += [_told(call, known) for call in calls] if calls else ["answer in words"]
            if calls:
                known.append((f"what {' and '.join(call.name for call in calls)} gave", step.observation))
        said = [one for place, one in enumerate(said) if place == 0 or one != said[place - 1]]
        return f"{_capital('; then '.join(said))}." if said else ""


def _told(call: Call, known: Sequence[tuple[str, str]]) -> str:
    given = [f"{name} {_source(value, known)}" for name, value in call.arguments.items()]
    return f"call {call.name} with {', '.join(given)}" if given else f"call {call.name}"


def _source(value: Any, known: Sequence[tuple[str, str]]) -> str:
    """Where a value was last seen before it was used."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    for name, told in reversed(known):
        if text and text.lower() in told.lower():
            return f"from {name}"
    return json.dumps(value, ensure_ascii=False) if len(text) <= _MOST_CHARACTERS else "in your own words"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
