"""Who plays what, where several processes fill one results folder: on one machine or on several that share a disk.

A game is played by whoever holds the lock of its file under `claims/`. The system lets go of the locks of a process
that ends, however it ends, so a game begun by one that was killed is free again. What was played is told by the
episodes alone: whoever takes a claim looks for the episode afterwards.
"""

import fcntl
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duomem_mlx.paths import digest, disk_faults

FOLDER = "claims"


class Claims:
    """The games this process plays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._held: dict[str, int] = {}  # name -> open file
        with disk_faults(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str) -> bool:
        """Whether this process has it now; false where another one does. Raises DuomemError when the disk refuses."""
        if name in self._held:
            return True
        path = self._path(name)
        with disk_faults(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
        self._held[name] = file
        return True

    def release(self, name: str) -> None:
        """Let others have it. Its file goes while the lock still holds, so that none is left behind."""
        if (file := self._held.pop(name, None)) is not None:
            self._path(name).unlink(missing_ok=True)
            os.close(file)

    def release_all(self) -> None:
        for name in list(self._held):
            self.release(name)

    def _path(self, name: str) -> Path:
        """Of two games whose episodes could want one file, one is played at a time."""
        alike = unicodedata.normalize("NFKD", name.replace("/", "__")).casefold()
        return self._folder / digest(alike)[:32]


@contextmanager
def claims_in(folder: Path) -> Iterator[Claims]:
    """Claims that end with the block."""
    claims = Claims(folder)
    try:
        yield claims
    finally:
        claims.release_all()
