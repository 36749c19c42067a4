"""The files of a bank, and putting a whole bank in its place at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from duomem_mlx.errors import UsageError
from duomem_mlx.paths import replacing_folder

HEAD, MEMORIES, VECTORS = "bank.json", "memories.jsonl", "vectors.npy"  # a sealed bank
DATABASE, MATRIX = "bank.sqlite3", "vectors.f32"  # a live one
FILES = (HEAD, MEMORIES, VECTORS, DATABASE, f"{DATABASE}-*", f"{DATABASE}.format-*", MATRIX)


@contextmanager
def replacing_bank(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """`paths.replacing_folder`; with `overwrite` a bank at `folder` is replaced, and only where nothing else is in
    there. Raises UsageError when it is taken, DuomemError when the disk refuses."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        _check_replaceable(folder, overwrite)
    with replacing_folder(folder, _is_a_banks) as part:
        yield part


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
