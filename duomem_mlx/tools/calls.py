"""Calls of tools: as a client is told of them, and as lines of JSON that a student writes and a trajectory keeps."""

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]  # of OpenAI's kind
ARGUMENTS = {"arguments", "parameters"}  # a call in a text has one of these
MAY_HAVE = ARGUMENTS | {"name", "type", "id"}
ANSWERED = "answered"  # in a recorded message of the assistant that a client worded anew: what was answered


@dataclass(frozen=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def line(self) -> str:
        """The line of JSON that it is written as."""
        return json.dumps({"name": self.name, "arguments": self.arguments}, ensure_ascii=False)


def read_lines(text: str) -> list[Call] | None:
    """The calls of a text that is nothing but such lines; None for any other text, JSON of another kind included."""
    decoder, calls, text = json.JSONDecoder(parse_constant=_no_constant), list[Call](), text.strip()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, Mapping) or value.keys() - MAY_HAVE or len(value.keys() & ARGUMENTS) != 1:
            return None
        if (call := call_in(value)) is None:
            return None
        calls.append(call)
        text = text[end:].lstrip()
    return calls or None


def call_in(value: Any) -> Call | None:
    """The call that a JSON value is: with "arguments", or as Llama 3 writes them "parameters"."""
    if not isinstance(value, Mapping):
        return None
    name, arguments = value.get("name"), value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        return None
    call = Call(name, dict(arguments))
    try:
        json.dumps([name, arguments], ensure_ascii=False, allow_nan=False).encode()  # halves of letters, 1e999
    except (ValueError, TypeError, RecursionError):
        return None
    return call


def calls_of(message: Message) -> list[Call] | None:
    """The calls in a message of the assistant; none where it has none, None where one of them is broken."""
    found = [call_in(call.get("function")) for call in message.get("tool_calls") or () if isinstance(call, Mapping)]
    whole = [call for call in found if call is not None]
    return whole if len(whole) == len(message.get("tool_calls") or ()) else None


def new_id() -> str:
    """Nine letters and digits, the only ids that Mistral's templates take."""
    return secrets.token_hex(5)[:9]


def answer_message(text: str, calls: Sequence[Call] = (), new_id: Callable[[], str] = new_id) -> dict[str, Any]:
    """What the assistant says, as a client is told it."""
    if not calls:
        return {"role": "assistant", "content": text}
    told = [
        {
            "id": new_id(),
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
        }
        for call in calls
    ]
    return {"role": "assistant", "content": text or None, "tool_calls": told}


def action_of(calls: Iterable[Call]) -> str:
    """The text that stands for these calls where actions are text."""
    return "\n".join(call.line for call in calls)


def text_of(message: Message) -> str:
    """What a message says, its parts on lines of their own; parts that are no text are left out."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if part.get("type") in ("text", "input_text", "output_text")]
    return "\n".join(text for text in texts if isinstance(text, str))


def _no_constant(name: str) -> Any:
    raise ValueError(name)
