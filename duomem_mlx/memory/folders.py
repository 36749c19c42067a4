"""The files of a bank, where banks lie, and putting a whole bank in its place at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from duomem_mlx.errors import UsageError
from duomem_mlx.paths import home, pull_hint, pulled, replacing_folder, shipped

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


def find_bank(name: str) -> Path:
    """The folder of the bank that `name` names: a folder, a name under `memories/` of the package or of the program's
    own home, or a bundle OWNER/NAME that was pulled. Raises UsageError when there is none."""
    folder = Path(name).expanduser()
    if is_bank(folder):
        return folder
    bundle = pulled(name)
    own = home() / "memories" / name if Path(name).name == name else None
    for found in (shipped("memories", name), own, bundle / "memories" if bundle else None):
        if found is not None and is_bank(found):
            return found
    if bundle:
        raise UsageError(f"The bundle {name} has no memories.", "Name another bank, or none.")
    what = f"The folder {folder} holds no bank." if folder.is_dir() else f"There is no bank {name!r}."
    raise UsageError(what, f"Name a folder that `memories build` or `memories export` wrote.{pull_hint(name)}")


def is_bank(folder: Path) -> bool:
    """Whether a bank of either form lies in a folder; nothing is said of its soundness."""
    return (folder / HEAD).is_file() or (folder / DATABASE).is_file()
