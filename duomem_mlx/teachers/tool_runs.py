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

    won: the ids of those that were won, with the folder of their file where that takes it to tell them apart, or "all";
    the others are then kept as lost. Without any, records say it themselves: `won`, or a `score` or `reward` of 1 and
    more. Raises UsageError when a file cannot be read, and for a name in `won` that no run has, or runs of several
    files.
    """
    left_out, kept = Counter[str](), dict[str, Trajectory]()
    winners = _winners(files, set(won) - {ALL})
    for file in files:
        for name, record in _records(file, left_out):
            verdict = _verdict(record, (ALL in won or (file, name) in winners) if won else None)
            found = NO_VERDICT if verdict is None else _read(record, *verdict)
            if isinstance(found, str):
                left_out[found] += 1
            elif found.id in kept:
                left_out[TWICE] += 1
            else:
                kept[found.id] = found
    return Imported(tuple(kept.values()), dict(left_out.most_common()))


def _records(file: Path, left_out: Counter[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Records with their ids: their own, else the name of the file, with their number where it holds several."""
    for number, value in enumerate(records_in(bytes_of(file), left_out), 1):
        record = value if isinstance(value, Mapping) else {"messages": value}
        name = record.get("id")
        yield name if isinstance(name, str) and name else f"{file.stem}{f'-{number}' if number > 1 else ''}", record


def _winners(files: Sequence[Path], named: set[str]) -> set[tuple[Path, str]]:
    """File and id of the runs that are named."""
    runs = [(file, name) for file in files for name, _ in _records(file, Counter())] if named else []
    found = set[tuple[Path, str]]()
    for one in sorted(named):
        meant = {run for run in runs if run[1] == one} or {run for run in runs if _names(one, *run)}
        if not meant:
            raise UsageError(f"There is no run {one} here.", "Name them by their ids, or say all.")
        if len(in_files := sorted({str(file) for file, _ in meant})) > 1:
            raise UsageError(f"{one} is a run in {' and in '.join(in_files)}.", f"Say which: FOLDER/{Path(one).name}.")
        found |= meant
    return found


def _names(one: str, file: Path, name: str) -> bool:
    """Whether a path, with or without its ending, is that of a run: its id, in the folder of its file, unless that is
    a file of several runs, which may have lain anywhere before."""
    *folders, last = Path(one).parts or ("",)
    there = tuple(folders) == file.absolute().parent.parts[-len(folders) :] if folders else True
    return last.removesuffix(".jsonl") == name and (there or file.stem != name)


def _verdict(record: Mapping[str, Any], said_won: bool | None) -> tuple[bool, float] | None:
    """Whether it was won, and its score of 0 to 1; None where nobody says so."""
    if said_won is not None:
        return said_won, float(said_won)
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
