"""Conversations kept as files that `trajectories import` reads: a JSON line each, in a file of its own.

The messages are those of the last request and its answer. Some clients say an answer back in words of their own, such
as a call of a tool as text: then the message is theirs, as a student will read it again, and `answered` in it is what
the answer was.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duomem_mlx.paths import digest, disk_faults, write_text
from duomem_mlx.student.serve.shapes import first_said
from duomem_mlx.teachers.transcripts import task_told
from duomem_mlx.tools.calls import ANSWERED, Message, calls_of, text_of

GROWING = 4096  # conversations whose last state is known
_OURS = re.compile(r"conversation-[0-9a-f]{16}(-\d+)?\.jsonl")


@dataclass(frozen=True)
class _End:
    """Where a conversation stands."""

    path: Path
    place: str  # hash of all before its last answer
    answer: str  # hash of that
    call_ids: tuple[str, ...]  # in it

    @classmethod
    def of(cls, path: Path, messages: Sequence[Message]) -> "_End":
        ids = (str(call.get("id") or "") for call in messages[-1].get("tool_calls", ()))
        return cls(path, _hashes(messages[:-1])[-1], _hash("", messages[-1]), tuple(ids))

    def says_back(self, message: Message) -> bool:
        """Whether this is its last answer, said again by a client."""
        if message["role"] != "assistant":
            return False
        if _hash("", message) == self.answer:
            return True
        whole = json.dumps(message, ensure_ascii=False)
        return bool(self.call_ids) and all(id_ and id_ in whole for id_ in self.call_ids)


class Record:
    """Keeps conversations in a folder. A request that goes on from an answer makes its conversation longer; one that
    does not begins another. For one thread."""

    def __init__(self, folder: Path, model: str) -> None:
        """Raises DuomemError when the folder cannot be made."""
        self.folder = folder
        self._model = model
        self._ends: OrderedDict[Path, _End] = OrderedDict()
        self._places: dict[str, list[Path]] = {}  # hash of all before its last answer -> conversations
        with disk_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)
        known = [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
        for path in sorted(known, key=lambda path: path.stat().st_mtime)[-GROWING:]:
            if line := _line_in(path):
                self._keep(_End.of(path, line["messages"]))

    def add(
        self,
        messages: Sequence[Message],
        answer: Message,
        memories: Sequence[str],
        tools: Sequence[Mapping[str, Any]] = (),
        task: str | None = None,
    ) -> Path:
        """Keep an answer with all that was said before it, whole or not at all.

        `task` is what the client says that it is; None: what the conversation was kept with, else what its first
        message tells. Raises DuomemError when the disk refuses.
        """
        said = [_kept(message) for message in messages]
        path = self._continued(said)
        before = _line_in(path) if path else None
        if path is None or before is None:
            path = self._new(_hash(_hashes(said)[-1], answer))
        else:
            said = _with_answers(said, before["messages"])
        said.append(_kept(answer))
        task = task or (before or {}).get("task") or task_told(first_said(messages))
        line = {
            "id": path.stem,
            **({"task": task} if task else {}),
            "messages": said,
            "asked": before["asked"] if before else len(messages),
            **({"tools": tools} if tools else {}),
            "model": self._model,
            "memories": list(memories),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_text(path, json.dumps(line, ensure_ascii=False) + "\n")
        self._keep(_End.of(path, said))
        return path

    def _continued(self, said: Sequence[Message]) -> Path | None:
        """The longest conversation that these messages go on with."""
        hashes = _hashes(said)
        for place in range(len(said) - 1, 0, -1):
            for path in reversed(self._places.get(hashes[place - 1], [])):
                if self._ends[path].says_back(said[place]):
                    return path
        return None

    def _keep(self, end: _End) -> None:
        self._forget(end.path)
        self._ends[end.path] = end
        self._places.setdefault(end.place, []).append(end.path)
        if len(self._ends) > GROWING:
            self._forget(next(iter(self._ends)))

    def _forget(self, path: Path) -> None:
        if (end := self._ends.pop(path, None)) is not None:
            self._places[end.place].remove(path)
            if not self._places[end.place]:
                del self._places[end.place]

    def _new(self, name: str) -> Path:
        path, number = self.folder / f"conversation-{name[:16]}.jsonl", 1
        while path.exists():  # the same was said before
            number += 1
            path = self.folder / f"conversation-{name[:16]}-{number}.jsonl"
        return path


def _kept(message: Message) -> dict[str, Any]:
    """What is kept of a message."""
    kept = {"role": str(message["role"]), "content": text_of(message)}
    return kept | {name: message[name] for name in ("tool_calls", "tool_call_id", "name") if message.get(name)}


def _with_answers(said: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with what was answered where a client says it otherwise; `before` are all up to the last answer."""
    told = list(said)
    for place, earlier in enumerate(before):
        answered = earlier.get(ANSWERED)
        if place == len(before) - 1 and _hash("", earlier) != _hash("", told[place]):
            answered = earlier
        if answered:
            told[place] = {**told[place], ANSWERED: answered}
    return told


def _hashes(said: Iterable[Message]) -> list[str]:
    """One after each message, of all up to there."""
    hashes, last = [], ""
    for message in said:
        last = _hash(last, message)
        hashes.append(last)
    return hashes


def _hash(last: str, message: Message) -> str:
    """Spaces around an answer tell nothing apart, nor does how a call's arguments are spaced."""
    calls = [[call.name, call.arguments] for call in calls_of(message) or ()]
    return digest([last, message["role"], text_of(message).strip(), *([calls] if calls else [])])


def _line_in(path: Path) -> dict[str, Any] | None:
    """None for what is no conversation of ours."""
    try:
        line: Any = json.loads(path.read_text(encoding="utf-8"))
        _End.of(path, line["messages"])
        asked = int(line.get("asked", len(line["messages"]) - 1))
        return {**line, "asked": asked} if 0 < asked < len(line["messages"]) else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
