"""`vectors.f32`: a bank's vectors as one mapped matrix. It is derived: SQLite decides, this file only follows.

    4096 bytes   magic, dimensions, stamp; zeros
    row 0        float32 [dimensions]
    row 1        ...

Rows are only ever appended, and zeroed when their memory is forgotten; what stands behind the last row of the stamp is
the rest of an append that was cut short. The stamp is written last.
"""

import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory.index import Floats

_HEADER = struct.Struct("<8sII16sQqQq")  # magic, format, dimensions, then the stamp
_MAGIC = b"DUOMEMV\0"
_FORMAT = 1
_DATA_START = 4096
_ROWS_A_WRITE = 1024


class Stamp(NamedTuple):
    """A state of a bank, as far as its matrix can tell: rows and holes only grow within a generation.

    The marks are random numbers given to each row and each hole, so that the matrix of a bank that was since put back
    to an older copy does not pass for its own.
    """

    generation: str  # 16 ASCII characters
    rows: int
    last_row: int  # mark of the row added last; 0 where there is none
    holes: int
    last_hole: int  # mark of the row forgotten last; 0 where there is none


NOTHING = Stamp("", 0, 0, 0, 0)


class Truth(Protocol):
    """Where the matrix is derived from. Held still while it is read."""

    def vectors_from(self, row: int) -> Iterable[tuple[int, bytes]]:
        """(row, float32 bytes) of the memories at `row` and behind it, in order."""

    def holes_from(self, hole: int) -> Iterable[int]:
        """Rows of what was forgotten after the first `hole` times."""

    def marks(self, rows: int, holes: int) -> tuple[int, int]:
        """What `last_row` and `last_hole` were when there were so many."""


class Matrix:
    """The matrix as this process sees it: mapped from the file, or in its own RAM where the file cannot be kept."""

    def __init__(self, path: Path, dimensions: int) -> None:
        self._path, self._dimensions = path, dimensions
        self._file: int | None = None
        self.stamp = NOTHING
        self.rows: Floats = np.empty((0, dimensions), np.float32)  # [stamp.rows, D]; holes are zero

    def follow(self, stamp: Stamp, truth: Truth, shared: bool) -> None:
        """Bring the matrix to `stamp`. With `shared` the caller keeps every other process from doing the same, and
        the file is brought along; without, or where the disk refuses, the matrix lives in RAM."""
        if shared:
            try:
                self._follow_in_file(stamp, truth)
                return
            except OSError:
                self.close()
        elif self.mapped() == stamp:
            return
        self._follow_in_memory(stamp, truth)

    def mapped(self) -> Stamp | None:
        """Map what the file holds by now; its stamp, None where it is missing or is not of this form."""
        try:
            return self._map()
        except OSError:
            return None

    def close(self) -> None:
        """Let go of the file. Views of `rows` that others hold stay readable."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self.stamp = NOTHING
        self.rows = np.empty((0, self._dimensions), np.float32)

    # -- the file --------------------------------------------------------------------------------------------

    def _follow_in_file(self, stamp: Stamp, truth: Truth) -> None:
        found = self._map()
        if found == stamp:
            return
        if found is not None and _went_before(found, stamp, truth):
            self._append(found, stamp, truth)
        else:
            self._rebuild(stamp, truth)
        if self._map() != stamp:
            raise OSError("vectors.f32 does not hold what was written to it")

    def _append(self, found: Stamp, stamp: Stamp, truth: Truth) -> None:
        handle = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(handle).st_ino != os.fstat(self._opened()).st_ino:
                raise OSError("vectors.f32 was replaced")
            self._write_rows(handle, found.rows, stamp.rows, truth)
            zeros = bytes(4 * self._dimensions)
            for row in truth.holes_from(found.holes):
                _write_at(handle, zeros, self._offset(row))
            _sync(handle)
            _write_at(handle, self._header(stamp), 0)
        finally:
            os.close(handle)

    def _rebuild(self, stamp: Stamp, truth: Truth) -> None:
        handle, name = tempfile.mkstemp(prefix=".vectors.", suffix=".part", dir=self._path.parent)
        try:
            os.fchmod(handle, 0o644)
            self._write_rows(handle, 0, stamp.rows, truth)
            _write_at(handle, self._header(stamp), 0)
            _sync(handle)
            os.replace(name, self._path)
        except BaseException:
            os.unlink(name)
            raise
        finally:
            os.close(handle)

    def _write_rows(self, handle: int, start: int, end: int, truth: Truth) -> None:
        os.ftruncate(handle, self._offset(end))
        for row, data in _runs(truth.vectors_from(start), 4 * self._dimensions):
            _write_at(handle, data, self._offset(row))

    def _offset(self, row: int) -> int:
        return _DATA_START + row * 4 * self._dimensions

    def _header(self, stamp: Stamp) -> bytes:
        return _HEADER.pack(_MAGIC, _FORMAT, self._dimensions, stamp.generation.encode(), *stamp[1:])

    def _opened(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self._file

    def _map(self) -> Stamp | None:
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            self.close()
            return None
        if self._file is not None and os.fstat(self._file).st_ino != named.st_ino:
            self.close()
        handle = self._opened()
        header = os.pread(handle, _HEADER.size, 0)
        stamp = self._read_header(header, os.fstat(handle).st_size)
        if stamp is None:
            self.close()
        elif stamp != self.stamp:
            if stamp.rows != len(self.rows) or stamp.generation != self.stamp.generation:
                self.rows = self._view(handle, stamp.rows)
            self.stamp = stamp
        return stamp

    def _read_header(self, header: bytes, size: int) -> Stamp | None:
        if len(header) < _HEADER.size:
            return None
        magic, version, dimensions, generation, *counts = _HEADER.unpack(header)
        stamp = Stamp(generation.decode("ascii", "replace"), *counts)
        if (magic, version, dimensions) != (_MAGIC, _FORMAT, self._dimensions) or size < self._offset(stamp.rows):
            return None
        return stamp

    def _view(self, handle: int, rows: int) -> Floats:
        if not rows:
            return np.empty((0, self._dimensions), np.float32)
        mapping = mmap.mmap(handle, self._offset(rows), access=mmap.ACCESS_READ)
        return np.frombuffer(mapping, np.float32, rows * self._dimensions, _DATA_START).reshape(rows, -1)

    # -- without the file ------------------------------------------------------------------------------------

    def _follow_in_memory(self, stamp: Stamp, truth: Truth) -> None:
        rows = np.zeros((stamp.rows, self._dimensions), np.float32)
        for row, data in _runs(truth.vectors_from(0), 4 * self._dimensions):
            block = np.frombuffer(data, np.float32).reshape(-1, self._dimensions)
            rows[row : row + len(block)] = block
        self.close()
        self.stamp, self.rows = stamp, rows


def _went_before(found: Stamp, stamp: Stamp, truth: Truth) -> bool:
    if found.generation != stamp.generation or found.rows > stamp.rows or found.holes > stamp.holes:
        return False
    return truth.marks(found.rows, found.holes) == (found.last_row, found.last_hole)


def _runs(vectors: Iterable[tuple[int, bytes]], row_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Neighbouring rows joined, so that a bank is written in few calls."""
    start, parts = 0, list[bytes]()
    for row, data in vectors:
        if len(data) != row_bytes:
            raise DuomemError(
                f"The bank is damaged: a vector has {len(data)} bytes, not {row_bytes}.",
                "`memories verify` says which.",
            )
        if parts and (row != start + len(parts) or len(parts) == _ROWS_A_WRITE):
            yield start, b"".join(parts)
            parts = []
        if not parts:
            start = row
        parts.append(data)
    if parts:
        yield start, b"".join(parts)


def _write_at(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def _sync(handle: int) -> None:
    """Data on the disk itself before anything that is written next: macOS's fsync stops at the drive's cache."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(handle)
    else:
        fcntl.fcntl(handle, full)
