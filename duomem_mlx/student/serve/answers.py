"""The answer of another server, put together from what it sends."""

from collections.abc import Mapping
from typing import Any


class Answer:
    """What the first choice says, whole or in pieces. What is not of OpenAI's form says nothing."""

    def __init__(self, whole: Mapping[str, Any] | None = None, part: str = "message") -> None:
        self.heard = False  # whether it had the form of an answer at all
        self._text = ""
        self._calls: dict[int, dict[str, str]] = {}  # by their place
        if whole is not None:
            self.add(whole, part)

    def add(self, answer: Mapping[str, Any], part: str) -> None:
        """`part`: "message" in a whole answer, "delta" in a piece."""
        try:
            said = answer["choices"][0][part]
            text, calls = said.get("content"), said.get("tool_calls")
        except (KeyError, IndexError, TypeError, AttributeError):
            return
        self.heard = True
        self._text += text if isinstance(text, str) else ""
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            self._add_call(call, place)

    def _add_call(self, call: Any, place: int) -> None:
        if not isinstance(call, Mapping):
            return
        index, function = call.get("index", place), call.get("function")
        so_far = self._calls.setdefault(
            index if isinstance(index, int) else place, {"id": "", "name": "", "arguments": ""}
        )
        so_far["id"] = so_far["id"] or _text(call.get("id"))
        if isinstance(function, Mapping):
            so_far["name"] += _text(function.get("name"))
            so_far["arguments"] += _text(function.get("arguments"))

    @property
    def message(self) -> dict[str, Any]:
        calls = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for _, call in sorted(self._calls.items())
        ]
        if not calls:
            return {"role": "assistant", "content": self._text}
        return {"role": "assistant", "content": self._text or None, "tool_calls": calls}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
