"""A sealed bank: `bank.json`, `memories.jsonl`, `vectors.npy`. What is shipped and published; read-only.

It may come from anyone: file names are fixed, sizes and hashes are checked before anything is parsed, every memory and
every vector before anything is used.
"""

import hashlib
import json
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from duomem_mlx.errors import DuomemError, UsageError, refuse_newer
from duomem_mlx.memory.folders import HEAD, MEMORIES, VECTORS, replacing_bank
from duomem_mlx.memory.index import MAX_DIMENSIONS, Floats, unit
from duomem_mlx.memory.record import MAX_BYTES, Memory, from_record, to_record
from duomem_mlx.paths import disk_faults, read_json, write_json

FORMAT = 1
_MAX_HEAD_BYTES = 1 << 20
_MAX_LINE_BYTES = 8 * MAX_BYTES  # every character of a memory may be escaped
_NPY_START = b"\x93NUMPY\x01\x00"
_NPY_HEADER = re.compile(rb"\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d{1,12}), (\d{1,6})\), \} *\n")


class Sealed:
    """The sealed form of a bank, all of its text in RAM."""

    sealed = True

    def __init__(self, folder: Path) -> None:
        """Read and check the bank in `folder`. Raises UsageError when there is none, DuomemError naming what is wrong
        with it."""
        self.folder = folder
        head = _read_head(folder)
        self.encoder_id: str = head["encoder"]["id"]
        self.fingerprint: str = head["encoder"]["fingerprint"]
        self.dimensions: int = head["dimensions"]
        self.by: str = head["by"]
        self.built_from: str = head["built_from"]
        self.finder: str = head.get("finder", "")
        for name in (MEMORIES, VECTORS):
            _check_file(folder / name, head["files"][name])
        self._memories = list(_read_memories(folder / MEMORIES))
        self._ids = [memory.id for memory in self._memories]
        if any(a >= b for a, b in zip(self._ids, self._ids[1:], strict=False)):
            raise _broken(folder / MEMORIES, "its memories are not each there once, by id")
        if len(self._memories) != head["count"]:
            raise _broken(folder / MEMORIES, f"it has {len(self._memories)} memories, not {head['count']}")
        self._row_of_key = {memory.key: row for row, memory in enumerate(self._memories)}
        self._vectors = _read_vectors(folder / VECTORS, head["count"], self.dimensions)

    def close(self) -> None:
        pass

    def __len__(self) -> int:
        return len(self._memories)

    def __iter__(self) -> Iterator[Memory]:
        return iter(self._memories)

    def find(self, prefix: str) -> list[Memory]:
        """The memories whose id starts with `prefix`, by id."""
        start = bisect_left(self._ids, prefix)
        end = bisect_left(self._ids, prefix + "g")
        return self._memories[start:end]

    def vectors_of(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The vectors (float32 bytes) of those keys that some memory has."""
        return {key: self._vectors[row].tobytes() for key in keys if (row := self._row_of_key.get(key)) is not None}

    @contextmanager
    def snapshot(self) -> Iterator["Sealed"]:
        """Itself: it does not change."""
        yield self

    @property
    def vectors(self) -> Floats:
        """float32 [N, D], unit rows, by id."""
        return self._vectors

    def at(self, rows: Iterable[int]) -> dict[int, Memory]:
        """The memories of these rows."""
        return {row: self._memories[row] for row in rows}

    def everything(self) -> Iterator[tuple[int, Memory, bytes]]:
        """(row, memory, float32 bytes) of all memories, by id."""
        return ((row, memory, self._vectors[row].tobytes()) for row, memory in enumerate(self._memories))

    def check(self) -> list[str]:
        """Nothing more than what opening it checked; files changed since are found."""
        try:
            Sealed(self.folder)
        except DuomemError as error:
            return [str(error)]
        return []


def write_sealed(
    folder: Path,
    items: Iterable[tuple[Memory, bytes]],
    *,
    encoder_id: str,
    fingerprint: str,
    dimensions: int,
    by: str,
    built_from: str,
    finder: str = "",
    overwrite: bool = False,
) -> int:
    """Write a sealed bank, whole or not at all: (memory, float32 bytes) by id. Returns how many.

    Raises UsageError when something is at `folder` and `overwrite` is not set, DuomemError when the disk refuses.
    """
    with replacing_bank(folder, overwrite) as part, disk_faults(folder):
        count = _write_files(part, items, dimensions)
        files = {name: {"bytes": (part / name).stat().st_size, "sha256": _sha256(part / name)} for name in _FILES}
        head = {
            "format": FORMAT,
            "encoder": {"id": encoder_id, "fingerprint": fingerprint},
            "dimensions": dimensions,
            "count": count,
            "by": by,
            "built_from": built_from,
            **({"finder": finder} if finder else {}),
            "files": files,
        }
        write_json(part / HEAD, head)
    return count


_FILES = (MEMORIES, VECTORS)


def _write_files(part: Path, items: Iterable[tuple[Memory, bytes]], dimensions: int) -> int:
    count = 0
    with (part / MEMORIES).open("wb") as lines, (part / VECTORS).open("wb") as vectors:
        vectors.write(_npy_header(0, dimensions))
        for memory, vector in items:
            lines.write(json.dumps(to_record(memory), ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            vectors.write(vector)
            count += 1
        vectors.seek(0)
        vectors.write(_npy_header(count, dimensions))
        for file in (lines, vectors):
            file.flush()
            os.fsync(file.fileno())
    return count


def _npy_header(count: int, dimensions: int) -> bytes:
    """128 bytes of NumPy's format 1.0 (numpy.lib.format)."""
    shape = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (count, dimensions)
    return _NPY_START + (118).to_bytes(2, "little") + shape.ljust(117) + b"\n"


# -- reading what may come from anyone ---------------------------------------------------------------------------


def _read_head(folder: Path) -> dict[str, Any]:
    path = folder / HEAD
    if not path.is_file():
        raise UsageError(f"There is no bank at {folder}.", "Check the path, or make one with `memories build`.")
    if path.stat().st_size > _MAX_HEAD_BYTES:
        raise _broken(path, f"it has {path.stat().st_size:,} bytes")
    head = read_json(path, "the bank's head")
    if not isinstance(head, dict):
        raise _broken(path, "a JSON object was expected")
    version = head.get("format")
    refuse_newer(f"The bank {folder}", version, FORMAT)
    files = head.get("files")
    right = {
        "format": version == FORMAT and not isinstance(version, bool),
        "encoder": _has_texts(head.get("encoder"), "id", "fingerprint"),
        "dimensions": _is_count(head.get("dimensions"), 1, MAX_DIMENSIONS),
        "count": _is_count(head.get("count"), 0, 10**12),
        "by": isinstance(head.get("by"), str),
        "built_from": isinstance(head.get("built_from"), str),
        "finder": isinstance(head.get("finder", ""), str),
        "files": isinstance(files, dict)
        and set(files) == set(_FILES)
        and all(_has_texts(f, "sha256") and _is_count(f.get("bytes"), 0, 2**60) for f in files.values()),
    }
    wrong = [name for name, fits in right.items() if not fits]
    if wrong:
        raise _broken(path, f"{', '.join(wrong)} missing or of another kind")
    return head


def _has_texts(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in names)


def _is_count(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_file(path: Path, said: dict[str, Any]) -> None:
    try:
        size = path.stat().st_size
        if size != said["bytes"]:
            raise _broken(path, f"it has {size:,} bytes where bank.json says {said['bytes']:,}")
        if _sha256(path) != said["sha256"]:
            raise _broken(path, "its hash is not the one in bank.json")
    except OSError as error:
        raise DuomemError(f"{path} cannot be read: {error.strerror or error}.", _AGAIN) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_memories(path: Path) -> Iterator[Memory]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES + 1):
            number += 1
            where = f"Line {number} of {path}"
            if len(line) > _MAX_LINE_BYTES:
                raise DuomemError(f"{where} has more than {_MAX_LINE_BYTES:,} bytes.", _AGAIN)
            if not line.endswith(b"\n"):
                raise DuomemError(f"{where} is cut short.", _AGAIN)
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                raise DuomemError(f"{where} is not whole JSON.", _AGAIN) from None
            yield from_record(record, where)


def _read_vectors(path: Path, count: int, dimensions: int) -> Floats:
    with path.open("rb") as file:
        start = file.read(10)
        header = file.read(min(int.from_bytes(start[8:10], "little"), 4096))
    found = _NPY_HEADER.fullmatch(header)
    if start[:8] != _NPY_START or found is None:
        raise _broken(path, "it is not a little-endian float32 matrix in NumPy's format 1.0")
    shape = (int(found[1]), int(found[2]))
    offset = 10 + len(header)
    if shape != (count, dimensions) or path.stat().st_size != offset + 4 * count * dimensions:
        raise _broken(path, f"its shape is {list(shape)} where bank.json says [{count}, {dimensions}]")
    if not count:
        return np.empty((0, dimensions), np.float32)
    vectors: Floats = np.memmap(path, np.dtype("<f4"), "r", offset, shape)
    try:
        return unit(vectors, dimensions)
    except ValueError as error:
        raise _broken(path, str(error)) from None


_AGAIN = "Fetch or export the bank again."


def _broken(path: Path, why: str) -> DuomemError:
    return DuomemError(f"{path} is not as a sealed bank should be: {why}.", _AGAIN)
