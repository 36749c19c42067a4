"""The files of a bank, and putting a whole bank in its place at once."""

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.paths import alone_in, disk_faults, sync_folder

HEAD, MEMORIES, VECTORS = "bank.json", "memories.jsonl", "vectors.npy"  # a sealed bank
DATABASE, MATRIX = "bank.sqlite3", "vectors.f32"  # a live one
FILES = (HEAD, MEMORIES, VECTORS, DATABASE, f"{DATABASE}-*", f"{DATABASE}.format-*", MATRIX)
LEFT_SECONDS = 60.0  # a folder in the making that nobody holds so long after it was made is a killed process's


@contextmanager
def replacing_bank(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; on success it is renamed to `folder`, on failure removed.

    With `overwrite` a bank at `folder` is replaced, and only where nothing else is in there; until the new one stands
    in its place it is kept beside it as `.NAME.old.…`. Raises UsageError when it is taken, DuomemError when the disk
    refuses.
    """
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken:
        _check_replaceable(folder, overwrite)
    with disk_faults(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        part.chmod(0o755)
    try:
        with alone_in(part):
            yield part
            with disk_faults(folder):
                if taken:
                    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
                    folder.rename(old / folder.name)
                    part.rename(folder)
                    shutil.rmtree(old)
                else:
                    part.rename(folder)
                sync_folder(folder)
                sync_folder(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    holds = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not {HEAD, DATABASE} & set(holds):
        raise UsageError(f"{folder} is there already and is no bank.", "Choose another --out.")
    if not overwrite:
        raise UsageError(f"{folder} is there already.", "Choose another --out, or add --overwrite.")
    if others := [name for name in holds if not _is_a_banks(name)]:
        raise UsageError(
            f"{folder} holds {', '.join(others[:3])} beside its bank, which is not to be lost.",
            "Move that, or choose another --out.",
        )


def _is_a_banks(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in FILES)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left beside `folder` in the making."""
    made_by_us = re.compile(rf"\.{re.escape(folder.name)}\.[a-z0-9_]{{8}}")
    for part in folder.parent.glob(f".{folder.name}.*"):
        if not (made_by_us.fullmatch(part.name) and part.is_dir() and not part.is_symlink()):
            continue
        if time.time() - part.stat().st_mtime < LEFT_SECONDS or not all(_is_a_banks(p.name) for p in part.iterdir()):
            continue
        with suppress(DuomemError), alone_in(part):  # else it is still in the making
            shutil.rmtree(part, ignore_errors=True)
