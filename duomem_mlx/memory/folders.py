"""Putting a whole folder in its place at once."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duomem_mlx.errors import UsageError
from duomem_mlx.paths import disk_faults


@contextmanager
def replacing_folder(folder: Path, overwrite: str = "") -> Iterator[Path]:
    """Yield an empty folder beside `folder`; on success it is renamed to `folder`, on failure removed.

    What is at `folder` is only replaced when it holds a file named `overwrite`; until the new one stands in its place
    it is kept beside it as `.NAME.old.…`. Raises UsageError when it is taken, DuomemError when the disk refuses.
    """
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken and not (overwrite and (folder / overwrite).is_file()):
        raise UsageError(f"{folder} is there already.", "Choose another --out, or add --overwrite if it is a bank.")
    with disk_faults(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        part.chmod(0o755)
    try:
        yield part
        with disk_faults(folder):
            if taken:
                old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
                folder.rename(old / folder.name)
                part.rename(folder)
                shutil.rmtree(old)
            else:
                part.rename(folder)
            _sync(folder)
            _sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
