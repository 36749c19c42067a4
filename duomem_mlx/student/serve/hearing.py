"""What a student says, heard for calls of tools: text is told as it comes, what may be a call when it is whole."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from duomem_mlx.tools.calls import Call, call_in, read_lines
from duomem_mlx.tools.offered import Offered

_LINE = re.compile(r"^[ \t]*\{", re.MULTILINE)


class Reading(Protocol):
    """How calls are written by a student."""

    def begins(self, text: str) -> int:
        """Where in an answer, as far as it is known, a call may begin, the white space before it with it."""

    def read(self, text: str, offered: Offered) -> list[Call] | None:
        """The calls in what began so; None for what is not calls from start to end."""


class Lines:
    """A line of JSON each."""

    def begins(self, text: str) -> int:
        found = _LINE.search(text)
        return len(text[: found.start() if found else len(text)].rstrip())

    def read(self, text: str, offered: Offered) -> list[Call] | None:
        return read_lines(text)


@dataclass(frozen=True)
class Marked:
    """As a model's chat template marks them; `parse` is mlx-lm's for it. Without an `end` a call ends where the next
    one starts."""

    start: str
    end: str
    parse: Any

    def begins(self, text: str) -> int:
        at = text.find(self.start)
        if at < 0:
            parts = (n for n in range(min(len(self.start), len(text)), 0, -1) if text.endswith(self.start[:n]))
            at = len(text) - next(parts, 0)
        return len(text[:at].rstrip())

    def read(self, text: str, offered: Offered) -> list[Call] | None:
        calls = list[Call]()
        before, *pieces = text.split(self.start)
        if before.strip():
            return None
        for piece in pieces:
            inner, _, after = piece.partition(self.end) if self.end else (piece, "", "")
            if after.strip():
                return None
            try:
                found = self.parse(inner, list(offered.tools))
            except Exception:  # each of mlx-lm's parsers raises what its text happens to break
                return None
            read = [call_in(value) for value in (found if isinstance(found, list) else [found])]
            calls += [call for call in read if call is not None]
            if None in read:
                return None
        return calls or None


@dataclass
class Heard:
    """One answer. Nothing is held back where no tools are offered."""

    reading: Reading
    offered: Offered | None
    _text: str = ""
    _told: int = 0

    def add(self, piece: str) -> str:
        """What can be told now."""
        self._text += piece
        return self._up_to(self.reading.begins(self._text) if self.offered else len(self._text))

    def end(self) -> Sequence[Call]:
        """The calls, each of them one of what is offered; where one is not all of them are told as text."""
        held = self._text[self._told :]
        calls = self.reading.read(held, self.offered) if self.offered and held.strip() else None
        if calls and self.offered and all(self.offered.accepts(call) for call in calls):
            return calls if self.offered.several else calls[:1]
        self._up_to(len(self._text))
        return ()

    @property
    def told(self) -> str:
        """The answer, as far as it is text."""
        return self._text[: self._told]

    def _up_to(self, end: int) -> str:
        begin, self._told = self._told, max(end, self._told)
        return self._text[begin : self._told]
