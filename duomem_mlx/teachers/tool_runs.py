"""Recorded runs of agents with tools, as trajectories. Nothing can be played again, so the user says what was won."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.teachers.imports import TWICE, Imported
from duomem_mlx.teachers.transcripts import NO_TEXT, OURS, OWN, bytes_of, records_in, task_told
from duomem_mlx.tools.calls import text_of
from duomem_mlx.tools.runs import NO_MESSAGES, run_of
from duomem_mlx.trajectory import Trajectory

ALL = "all"
NO_VERDICT = "does not say whether it was won"


def import_runs(files: Sequence[Path], won: Sequence[str] = ()) -> Imported:
    """The runs in `files`, JSON Lines or one JSON value each.

    won: the ids of those that were won, or "all"; the others are then kept as lost. Without any, records say it
    themselves: `won`, or a `score` or `reward` of 1 and more. Raises UsageError when a file cannot be read or holds no
    run of an id in `won`.
    """
    left_out, kept = Counter[str](), dict[str, Trajectory]()
    wanted, seen = {_without_folder(name) for name in won}, {ALL}
    for file in files:
        for name, record in _records(file, left_out):
            seen.add(name)
            verdict = _verdict(record, name, wanted)
            found = NO_VERDICT if verdict is None else _read(record, *verdict)
            if isinstance(found, str):
                left_out[found] += 1
            elif found.id in kept:
                left_out[TWICE] += 1
            else:
                kept[found.id] = found
    if strange := wanted - seen:
        raise UsageError(f"There is no run {', '.join(sorted(strange))} here.", "Name them by their ids, or say all.")
    return Imported(tuple(kept.values()), dict(left_out.most_common()))


def _records(file: Path, left_out: Counter[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Records with their ids: their own, else the name of the file, with their number where it holds several."""
    for number, value in enumerate(records_in(bytes_of(file), left_out), 1):
        record = value if isinstance(value, Mapping) else {"messages": value}
        name = record.get("id")
        yield name if isinstance(name, str) and name else f"{file.stem}{f'-{number}' if number > 1 else ''}", record


def _verdict(record: Mapping[str, Any], name: str, won: set[str]) -> tuple[bool, float] | None:
    """Whether it was won, and its score of 0 to 1; None where nobody says so."""
    if won:
        return (name in won or ALL in won), float(name in won or ALL in won)
    if isinstance(said := record.get("won"), bool):
        return said, float(said)
    for score in (record.get("score"), record.get("reward")):
        if isinstance(score, int | float) and not isinstance(score, bool) and score == score:
            return score >= 1, min(max(float(score), 0.0), 1.0)
    return None


def _read(record: Mapping[str, Any], won: bool, score: float) -> Trajectory | str:
    """The trajectory, or why there is none."""
    if record.keys() >= OWN:
        return OURS
    try:
        json.dumps(record, ensure_ascii=False).encode()
        return run_of(record, won, score, _task(record))
    except UnicodeEncodeError:
        return NO_TEXT
    except RecursionError:
        return NO_MESSAGES
    except DuomemError as error:
        return error.what


def _task(record: Mapping[str, Any]) -> str:
    """What a bank is asked with when such a run is served."""
    messages = record.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, Mapping) and message.get("role") == "user":
            said = text_of(message)
            return task_told(said) or " ".join(said.split())
    return ""


def _without_folder(name: str) -> str:
    """An id, also where a file is named by its path."""
    return Path(name).name.removesuffix(".jsonl")
