"""A chat template cut into the pieces that stand around what is said.

The template is rendered around markers and cut at them: what stands before the first answer, between an answer and the
next user turn, and between that and the next answer. The cut holds for every turn alike, or there is none: a template
that writes one turn otherwise than the next cannot be carried from turn to turn.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from duomem_mlx.errors import DuomemError

# Some templates tell the date. It must be the same in training and in play, so it is the one that Llama 3's takes where
# it is not told the date.
DAY = datetime(2024, 7, 26)
FIX = "Use --prompt-style compact-1."
OFF, ALWAYS = "off", "always"
_TODAY = re.compile(r"strftime_now\(\s*(?P<quote>['\"])(?P<format>.*?)(?P=quote)\s*\)")

_SYSTEM, _USER, _ANSWER, _NEXT, _REPLY, _LAST = (f"\ue000{name}\ue001" for name in "SUANRL")

Render = Callable[..., str]  # messages, whether an answer is to be opened, tools


@dataclass(frozen=True)
class Pieces:
    """The template's own text around what is said in a conversation."""

    system: bool  # there is a system role; else the system text is to open the first user turn
    head: str  # before the system text; without one before the first user text
    middle: str  # from the system text to the first user text; empty without one
    opens: str  # from the end of a user text to where the answer begins
    between: str  # from the end of an answer to the next user text
    dropped: bool  # the template takes from earlier answers what it opens a new one with, such as an empty thought


def cut_template(tokenizer: Any) -> Pieces:
    """The pieces of the tokenizer's chat template, thinking off. A system role that the template lacks, or that moves
    as the conversation goes on, is done without.

    Raises DuomemError when there is no template, when it fails, or when it changes earlier turns.
    """
    render = renderer(tokenizer)
    try:
        pieces = _cut(render, system=True) or _cut(render, system=False)
    except Exception as error:  # a template raises whatever its author chose
        if getattr(tokenizer, "chat_template", None) is None:
            raise DuomemError("This model has no chat template.", FIX) from None
        said = " ".join(str(error).split()).rstrip(".")
        raise DuomemError(f"This model's chat template fails: {said}.", FIX) from None
    if pieces is None:
        raise DuomemError("This model's chat template changes earlier turns, so they cannot be kept.", FIX)
    return pieces


def thinking(tokenizer: Any) -> str | None:
    """None for a model that has no way to write thoughts; OFF where its template turns them off, as everything here
    does; ALWAYS where it does not. Raises what the template raises."""
    if not getattr(tokenizer, "has_thinking", False):
        return None
    asked = [{"role": "user", "content": _USER}]
    off, on = (
        tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, enable_thinking=wanted)
        for wanted in (False, True)
    )
    return ALWAYS if off == on else OFF


def renderer(tokenizer: Any) -> Render:
    """The chat template as a function, thinking off, on a day that is always the same. It raises what it will."""
    written = getattr(tokenizer, "chat_template", None)
    dated = {"chat_template": _TODAY.sub(_on_that_day, written)} if isinstance(written, str) else {}

    def render(messages: list[dict[str, Any]], opened: bool, tools: list[dict[str, Any]] | None = None) -> str:
        more = {**dated, **({"tools": tools} if tools else {})}
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=opened, enable_thinking=False, **more
        )
        return str(text)

    return render


def knows_tools(render: Render) -> bool:
    """Whether the template tells what tools there are, and writes calls of them and what they gave."""
    called, offered = "called_tool", "offered_tool"
    call = {"id": "000000000", "type": "function", "function": {"name": called, "arguments": {}}}
    talk = [
        {"role": "user", "content": _USER},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": _NEXT, "name": called, "tool_call_id": call["id"]},
    ]
    function = {"name": offered, "description": "", "parameters": {"type": "object", "properties": {}}}
    try:
        text = render(talk, True, [{"type": "function", "function": function}])
    except Exception:  # a template raises whatever its author chose
        return False
    return all(found in text for found in (called, offered, _NEXT))


def _on_that_day(call: re.Match[str]) -> str:
    return f"{call['quote']}{DAY.strftime(call['format'])}{call['quote']}"


def _cut(render: Render, system: bool) -> Pieces | None:
    """None where the template does not write every turn alike. Without a system role whatever it raises is raised."""
    start = [{"role": "system", "content": _SYSTEM}] if system else []
    start.append({"role": "user", "content": _USER})
    said = [
        {"role": "assistant", "content": _ANSWER},
        {"role": "user", "content": _NEXT},
        {"role": "assistant", "content": _REPLY},
        {"role": "user", "content": _LAST},
    ]
    try:
        begun, whole = render(start, True), render([*start, *said], True)
    except Exception:
        if system:
            return None
        raise
    marks = [*([_SYSTEM] if system else []), _USER, _ANSWER, _NEXT, _REPLY, _LAST]
    first, later = _split(begun, marks[: len(start)]), _split(whole, marks)
    if first is None or later is None or first[:-1] != later[: len(start)]:
        return None
    new, (old, between, old_again, between_again, newest) = first[-1], later[len(start) :]
    if (old, between, new) != (old_again, between_again, newest) or not (new.startswith(old) or old.startswith(new)):
        return None
    return Pieces(
        system=system,
        head=first[0],
        middle=first[1] if system else "",
        opens=max(new, old, key=len),
        between=between,
        dropped=len(new) > len(old),
    )


def _split(text: str, marks: list[str]) -> list[str] | None:
    """What stands around the marks; None unless each stands there once and in this order."""
    if any(text.count(mark) != 1 for mark in marks):
        return None
    parts = []
    for mark in marks:
        part, found, text = text.partition(mark)
        if not found:
            return None
        parts.append(part)
    return [*parts, text]
