"""Conversations kept as files that `trajectories import` reads: a JSON line each, in a file of its own."""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duomem_mlx.paths import digest, disk_faults, write_text
from duomem_mlx.student.serve.shapes import Message, first_said, text_of
from duomem_mlx.teachers.transcripts import task_told

GROWING = 4096  # conversations whose last state is known
_OURS = re.compile(r"conversation-[0-9a-f]{16}(-\d+)?\.jsonl")


class Record:
    """Keeps conversations in a folder. A request that goes on from an answer makes its conversation longer; one that
    does not begins another. For one thread."""

    def __init__(self, folder: Path, model: str) -> None:
        """Raises DuomemError when the folder cannot be made."""
        self.folder = folder
        self._model = model
        self._ends: OrderedDict[str, Path] = OrderedDict()  # hash of all that was said -> its file
        with disk_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)
        known = [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
        for path in sorted(known, key=lambda path: path.stat().st_mtime)[-GROWING:]:
            if messages := _messages_in(path):
                self._ends[_hashes(messages)[-1]] = path

    def add(self, messages: Sequence[Message], answer: str, memories: Sequence[str]) -> Path:
        """Keep an answer with all that was said before it, whole or not at all. Raises DuomemError when the disk
        refuses."""
        said = [*({"role": str(m["role"]), "content": text_of(m)} for m in messages)]
        said.append({"role": "assistant", "content": answer})
        hashes = _hashes(said)
        before = next((end for end in reversed(hashes[:-1]) if end in self._ends), None)
        path = self._new(hashes[-1]) if before is None else self._ends[before]
        task = task_told(first_said(messages))
        line = {
            "id": path.stem,
            **({"task": task} if task else {}),
            "messages": said,
            "model": self._model,
            "memories": list(memories),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_text(path, json.dumps(line, ensure_ascii=False) + "\n")
        if before is not None:
            del self._ends[before]
        self._ends[hashes[-1]] = path
        if len(self._ends) > GROWING:
            self._ends.popitem(last=False)
        return path

    def _new(self, name: str) -> Path:
        path, number = self.folder / f"conversation-{name[:16]}.jsonl", 1
        while path.exists():  # the same was said before
            number += 1
            path = self.folder / f"conversation-{name[:16]}-{number}.jsonl"
        return path


def _hashes(said: Iterable[dict[str, str]]) -> list[str]:
    """One after each message, of all up to there; spaces around an answer tell nothing apart."""
    hashes, last = [], ""
    for message in said:
        last = digest([last, message["role"], message["content"].strip()])
        hashes.append(last)
    return hashes


def _messages_in(path: Path) -> list[dict[str, str]] | None:
    """None for what is no conversation of ours."""
    try:
        messages: Any = json.loads(path.read_text(encoding="utf-8"))["messages"]
        return [{"role": str(m["role"]), "content": str(m["content"])} for m in messages]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
