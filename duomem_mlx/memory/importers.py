"""Other people's memories: JSON Lines with whatever names their fields have."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.memory.record import MAX_BYTES, Memory, Source, check, from_record

FIELDS = ("task", "script", "steps", "key", "game", "split", "teacher", "environment")
NO_JSON = "is not whole JSON."
_MAX_LINE_BYTES = 8 * MAX_BYTES
_MAX_DEPTH = 16  # names in a path of fields


@dataclass(frozen=True)
class Imported:
    """What came of a file: the memories, and why the other lines were left out, each reason with its count."""

    memories: tuple[Memory, ...]
    left_out: Mapping[str, int]


def read_foreign(path: Path, fields: Mapping[str, str], environment: str) -> Imported:
    """The memories of a JSON Lines file, or of one JSON array.

    fields: our name to theirs, with dots into nested objects (`steps` to `trajectory.actions`); a name that is not
    there stands for itself. Only `task` and one of `script` and `steps` are needed. Steps are a list of texts, a list
    of objects with an `action`, or one text of lines. A line that this program wrote itself is read as it is.

    Raises UsageError when the file is not there, a field is none of FIELDS, or no line holds a memory.
    """
    if unknown := sorted(set(fields) - set(FIELDS)):
        raise UsageError(f"A memory has no field {', '.join(unknown)}.", f"Its fields are {', '.join(FIELDS)}.")
    paths = {name: tuple(fields.get(name, name).split(".")[:_MAX_DEPTH]) for name in FIELDS}
    memories, left_out = list[Memory](), Counter[str]()
    for where, record in _records(path, left_out):
        try:
            if isinstance(record, dict) and record.get("format") is not None and "source" in record:
                memories.append(from_record(record, where))
            else:
                memories.append(_memory(record, paths, environment, where))
        except DuomemError as error:
            left_out[error.what.removeprefix(where).strip()] += 1
    if not memories:
        reasons = "; ".join(f"{reason.rstrip('.')} ({count})" for reason, count in left_out.most_common(3))
        fields_are_off = any(reason != NO_JSON for reason in left_out)
        fix = "Name its fields with --field OURS=THEIRS." if fields_are_off else "Give JSON Lines, or a bank's folder."
        raise UsageError(f"{path} holds no memory; of its lines: {reasons}." if reasons else f"{path} is empty.", fix)
    return Imported(tuple(memories), left_out)


def _records(path: Path, left_out: Counter[str]) -> Any:
    """(where, JSON value) of what can be parsed."""
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()[:1]
            file.seek(0)
            if start == b"[":
                yield from _array(path, file.read())
                return
            number = 0
            while line := file.readline(_MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > _MAX_LINE_BYTES:
                    raise DuomemError(
                        f"Line {number} of {path} has more than {_MAX_LINE_BYTES:,} bytes.", "Split or remove it."
                    )
                if not line.strip():
                    continue
                try:
                    yield f"Line {number} of {path}", json.loads(line)
                except (ValueError, RecursionError):
                    left_out[NO_JSON] += 1
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from None


def _array(path: Path, data: bytes) -> Any:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        raise DuomemError(f"{path} is neither JSON Lines nor one JSON array.", "Check the file.") from None
    for number, value in enumerate(values, 1):
        yield f"Item {number} of {path}", value


def _memory(record: Any, paths: Mapping[str, tuple[str, ...]], environment: str, where: str) -> Memory:
    if not isinstance(record, dict):
        raise DuomemError(f"{where} is not a JSON object.")
    found = {name: _follow(record, path) for name, path in paths.items()}
    texts = {name: _text(found[name], where, paths[name]) for name in FIELDS if name != "steps"}
    memory = Memory(
        task=texts["task"].strip(),
        script=texts["script"].strip(),
        steps=_steps(found["steps"], where, paths["steps"]),
        source=Source(
            environment=texts["environment"] or environment,
            game=texts["game"],
            split=texts["split"],
            teacher=texts["teacher"] or "imported",
            trajectory="",
        ),
        key=texts["key"].strip(),
    )
    check(memory, where)
    return memory


def _follow(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: Any, where: str, path: tuple[str, ...]) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DuomemError(f"{where} has {'.'.join(path)} of another kind than text.")
    return value


def _steps(value: Any, where: str, path: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.splitlines()
    if value is None:
        return ()
    if isinstance(value, list):
        steps = [item.get("action") if isinstance(item, dict) else item for item in value]
        texts = [step.strip() for step in steps if isinstance(step, str)]
        if len(texts) == len(steps):
            return tuple(text for text in texts if text)
    raise DuomemError(f"{where} has {'.'.join(path)} of another kind than a list of actions.")
