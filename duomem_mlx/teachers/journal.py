"""Every answer that was paid for, on disk before it is used: a run that was killed asks for none of them again."""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from duomem_mlx.errors import DuomemError, refuse_newer
from duomem_mlx.paths import digest, disk_faults, lock, mend_tail
from duomem_mlx.teachers.answers import Answer, reply_in
from duomem_mlx.teachers.budget import Budget

FORMAT = 1
JOURNAL = "answers.jsonl"

Messages = Sequence[Mapping[str, str]]


class Place(NamedTuple):
    """Which answer of which attempt at which game."""

    game: str
    attempt: int  # from 1
    turn: int  # from 0


class Journal:
    """Answers and faults of one run, JSON Lines, appended and synced one by one. Safe to share between threads."""

    def __init__(self, path: Path, budget: Budget, wants_actions: bool = True) -> None:
        """Reads what is there and lets `budget` count it; a last line that a killed run left torn is cut.
        `wants_actions`: an answer without one counts as a fault.

        Raises DuomemError when another line is not whole, the file cannot be written, or another process has it.
        """
        self.path = path
        self.budget = budget
        self._wants_actions = wants_actions
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._written = self._synced = 0  # lines, of this process
        self._answers: dict[tuple[Place, str], Answer] = {}
        with disk_faults(path):
            self._file: BinaryIO | None = path.open("ab", buffering=0)
        try:
            lock(self._file, path.parent)
        except DuomemError:
            self.close()
            raise
        mend_tail(path)
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                self._read(line, f"Line {number} of {path}")

    def find(self, place: Place, messages: Messages) -> Answer | None:
        """The answer that was given there to these very messages."""
        return self._answers.get((place, fingerprint(messages)))

    def add(self, place: Place, messages: Messages, answer: Answer) -> None:
        """Keep an answer; it is on disk, and counted, when this returns. Raises DuomemError when the disk refuses."""
        prompt = fingerprint(messages)
        self._append({**place._asdict(), "prompt": prompt, **asdict(answer)})
        self._count(place, prompt, answer)

    def add_fault(self, place: Place, kind: str, tokens_in: int = 0, tokens_out: int = 0) -> None:
        """Keep that a request brought no answer, and what it cost all the same."""
        self._append({**place._asdict(), "fault": kind, "tokens_in": tokens_in, "tokens_out": tokens_out})
        self._count_fault(kind, tokens_in, tokens_out)

    def close(self) -> None:
        """Sync and close; an answer that comes later is refused, and so not used."""
        with self._syncing, self._lock:
            if self._file is not None:
                with disk_faults(self.path):
                    os.fsync(self._file.fileno())
                self._synced = self._written
                self._file.close()
                self._file = None

    def _append(self, record: dict[str, Any]) -> None:
        line = (json.dumps({"format": FORMAT, **record}, ensure_ascii=True) + "\n").encode()
        with disk_faults(self.path):
            with self._lock:
                if (file := self._file) is None:
                    raise OSError("the run is over")
                start = file.seek(0, os.SEEK_END)
                try:
                    while line:
                        line = line[file.write(line) :]
                except OSError:
                    os.truncate(self.path, start)
                    raise
                self._written += 1
                mine = self._written
            with self._syncing:  # whoever waited here finds that one sync served several
                if self._synced < mine:
                    upto = self._written
                    os.fsync(file.fileno())
                    self._synced = upto

    def _read(self, line: str, where: str) -> None:
        try:
            record = json.loads(line)
            refuse_newer(where, record["format"], FORMAT)
            if "fault" in record:
                self._count_fault(str(record["fault"]), int(record["tokens_in"]), int(record["tokens_out"]))
                return
            place = Place(record["game"], record["attempt"], record["turn"])
            answer = Answer(**{name: record[name] for name in Answer.__dataclass_fields__})
            self._count(place, str(record["prompt"]), answer)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DuomemError(f"{where} is no answer of a teacher.", "Remove that line and call again.") from None

    def _count(self, place: Place, prompt: str, answer: Answer) -> None:
        self._answers[place, prompt] = answer
        self.budget.spend(answer.tokens_in, answer.tokens_out, answer.seconds)
        if answer.cut:
            self.budget.count("cut")
        if self._wants_actions and reply_in(answer).action is None:
            self.budget.count("no_action")

    def _count_fault(self, kind: str, tokens_in: int, tokens_out: int) -> None:
        self.budget.count(kind)
        if tokens_in or tokens_out:
            self.budget.spend(tokens_in, tokens_out, answers=0)


def fingerprint(messages: Messages) -> str:
    """16 hex digits that stand for a conversation so far."""
    return digest([dict(message) for message in messages])[:16]
