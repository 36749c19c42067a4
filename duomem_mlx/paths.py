"""Where things lie, and writing them so that nothing is ever half there."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from duomem_mlx.errors import DuomemError, UsageError

PACKAGE = Path(__file__).parent
CONFIG = "config.json"  # what made a run's folder
LEFT_SECONDS = 60.0  # a folder in the making that nobody holds so long after it was made is a killed process's
CLAIM_SECONDS = 5.0  # a process that claims a folder waits so long for another that does
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # OWNER/NAME; no part of it leads out of a folder


def home() -> Path:
    """The folder for what the program keeps for itself: `$DUOMEM_HOME`, else the platform's usual place."""
    if chosen := os.environ.get("DUOMEM_HOME"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("duomem-mlx", appauthor=False))


def shipped(room: str, name: str) -> Path | None:
    """Folder of a shipped adapter or bank: `room` is "adapters" or "memories", `name` may stand after it
    ("memories/alfworld-search"); None when there is none of that name. Found in an installed wheel and in a checkout.
    """
    name = name.removeprefix(f"{room}/")
    if Path(name).name != name or name in ("", ".."):
        return None
    checkout = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None
    for root in (PACKAGE / "shipped", checkout):
        if root is not None and (folder := root / room / name).is_dir():
            return folder
    return None


def bundle_folder(name: str) -> Path:
    """Where the bundle OWNER/NAME stands once `duomem-mlx pull` has fetched it."""
    return home() / "bundles" / name


def pulled(name: str) -> Path | None:
    """Folder of the bundle OWNER/NAME, as it was pulled; None where it was not."""
    return folder if HUB_ID.fullmatch(name) and (folder := bundle_folder(name)).is_dir() else None


def pull_hint(name: str) -> str:
    """How to get what has a name of the Hub's kind, for a person; empty for other names."""
    return f" One of the Hub's is fetched with `duomem-mlx pull {name}`." if HUB_ID.fullmatch(name) else ""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed over `path`, on failure removed.

    Raises DuomemError when the disk is full or the folder cannot be written; what was at `path` stays as it was.
    """
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.chmod(0o644)
            part.replace(path)
            sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all. Raises DuomemError as `replacing` does."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, indented, whole or not at all. Raises DuomemError as `replacing` does."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """One JSON value; `what` names the thing for a person. Raises UsageError when it is not there, DuomemError
    when it is not whole JSON."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"There is no {what} at {path}.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DuomemError(f"{what.capitalize()} {path} cannot be read: {error}.") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        problem = "is empty" if not text.strip() else "is not whole JSON"
        raise DuomemError(
            f"{what.capitalize()} {path} {problem}.", "Make it again, or restore it from a copy."
        ) from None


def append_json(path: Path, values: Iterable[Any]) -> None:
    """Add JSON values to a JSON Lines file, a line each, and sync them to disk: all of them or none. Raises
    DuomemError when the disk refuses; earlier lines stay whole."""
    lines = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()
    if not lines:
        return
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            start = file.tell()
            try:
                while lines:
                    lines = lines[file.write(lines) :]
                os.fsync(file.fileno())
            except BaseException:  # Ctrl-C as well
                os.truncate(path, start)
                raise


def lock(file: BinaryIO | int, folder: Path, patience_seconds: float = 0.0) -> None:
    """Keep every other process that asks out of `folder` until `file` is closed. Raises DuomemError when one is in
    and stays longer than `patience_seconds`."""
    until = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise DuomemError(
                    f"Another process writes into {folder}.", "Wait for it, or choose another --out."
                ) from None
        time.sleep(0.05)


@contextmanager
def alone_in(folder: Path, patience_seconds: float = 0.0) -> Iterator[None]:
    """Keep every other process that asks out of `folder`, made where it is not there, for the block. Raises
    DuomemError as `lock` does, and when the disk refuses."""
    with disk_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, folder, patience_seconds)
        yield
    finally:
        os.close(handle)


@contextmanager
def replacing_folder(folder: Path, ours: Callable[[str], bool]) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; on success it is renamed to `folder`, on failure removed.

    What is at `folder` is replaced; until the new one stands in its place it is kept beside it as `.NAME.old.…`. What
    killed processes left in the making is removed where `ours` knows every name in it. Raises DuomemError when the
    disk refuses.
    """
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    with disk_faults(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder, ours)
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


def _sweep(folder: Path, ours: Callable[[str], bool]) -> None:
    """Remove what killed processes left beside `folder` in the making."""
    made_by_us = re.compile(rf"\.{re.escape(folder.name)}\.[a-z0-9_]{{8}}")
    for part in folder.parent.glob(f".{folder.name}.*"):
        if not (made_by_us.fullmatch(part.name) and part.is_dir() and not part.is_symlink()):
            continue
        if time.time() - part.stat().st_mtime < LEFT_SECONDS or not all(ours(p.name) for p in part.iterdir()):
            continue
        with suppress(DuomemError), alone_in(part):  # else it is still in the making
            shutil.rmtree(part, ignore_errors=True)


def mend_tail(path: Path) -> bool:
    """Cut a last line that a killed writer left torn; True when there was one."""
    if not path.is_file():
        return False
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return False
    with disk_faults(path):
        os.truncate(path, whole)
    return True


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn what a disk can do wrong while writing `path` into one sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        full = error.errno == errno.ENOSPC
        fix = "Free some space and run the same command again." if full else "Choose another place, or mend this one."
        raise DuomemError(f"{path} cannot be written: {reason}.", fix) from error


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class RunFolder:
    """The folder a run writes into, and what tells this run from another."""

    path: Path
    run: Mapping[str, Any]  # the command and its settings
    outputs: Sequence[str]  # names of what the command writes into the folder, beside config.json
    begun: bool  # this very run was begun there
    anew: bool = False  # though it was, it is to be done again
    notes: Mapping[str, Any] = field(default_factory=dict)  # kept with the run that begins; no part of what it is

    def claim(self) -> None:
        """Write `config.json` where the run is new there, and clear what another left under the same names; a run
        that was begun loses only what a kill tore. Raises DuomemError when the disk refuses, or when another process
        is alone in there."""
        with alone_in(self.path, CLAIM_SECONDS):
            begun = self.begun or (not self.anew and self._is_begun())  # by another process, a moment ago
            with disk_faults(self.path):
                for name in (*self.outputs, CONFIG):
                    for torn in _torn(self.path, name):
                        torn.unlink(missing_ok=True)
                    if not begun:
                        _remove(self.path / name)
            if not begun:
                notes = {"notes": self.notes} if self.notes else {}
                write_json(self.path / CONFIG, {"format": 1, "run": self.run, **notes})

    def noted(self) -> Mapping[str, Any]:
        """The notes on disk, of a run that was begun."""
        found = read_json(self.path / CONFIG, "run's config.json").get("notes") if self.begun else None
        return found if isinstance(found, dict) else {}

    def _is_begun(self) -> bool:
        config = self.path / CONFIG
        return config.is_file() and _run_of(read_json(config, "run's config.json")) == self.run


def run_folder(
    out: Path | None, command: str, settings: Mapping[str, Any], outputs: Sequence[str], overwrite: bool = False
) -> RunFolder:
    """The folder for a run: `out`, or `runs/COMMAND-` and 8 hex digits of the settings' hash. Nothing is changed
    before `claim`, and a claim takes away only `outputs`.

    One that this very run began is handed back so that it resumes, or with `overwrite` starts anew. Raises UsageError
    when another run's output is there and `overwrite` is not set, naming what differs, and always when what is there
    is another command's or no run's folder.
    """
    wanted = json.loads(json.dumps({"command": command, **settings}))
    folder = out or Path("runs") / f"{command}-{digest(wanted)[:8]}"
    config = folder / CONFIG
    if folder.is_file() or (folder.is_dir() and _holds_anything(folder) and not _is_run(config)):
        raise UsageError(f"{folder} is there and is no run's folder.", "Choose another --out; it is not overwritten.")
    old = _run_of(read_json(config, "run's config.json")) if config.is_file() else None
    if old is not None and old.get("command") != command:
        raise UsageError(
            f"{folder} holds what `duomem-mlx {old.get('command')}` made.",
            "Choose another --out; it is not overwritten.",
        )
    if old is not None and old != wanted and not overwrite:
        names = sorted(name for name in {*wanted, *old} if old.get(name) != wanted.get(name))
        raise UsageError(
            f"{folder} holds another run (other {', '.join(names)}).", "Choose another --out, or add --overwrite."
        )
    return RunFolder(folder, wanted, tuple(outputs), begun=old == wanted and not overwrite, anew=overwrite)


def claim_run(
    out: Path | None, command: str, settings: Mapping[str, Any], outputs: Sequence[str], overwrite: bool = False
) -> Path:
    """The folder of a run, claimed at once; see `run_folder` and `RunFolder.claim`."""
    folder = run_folder(out, command, settings, outputs, overwrite)
    folder.claim()
    return folder.path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _torn(folder: Path, name: str) -> list[Path]:
    """What `replacing` left that was killed while it wrote `name`; a file of anybody else's is called otherwise."""
    ours = re.compile(rf"\.{re.escape(name)}\.[a-z0-9_]{{8}}{re.escape(Path(name).suffix)}")
    return [path for path in folder.glob(f".{name}.*") if ours.fullmatch(path.name)]


def _run_of(found: Any) -> dict[str, Any] | None:
    run = found.get("run") if isinstance(found, dict) and found.get("format") == 1 else None
    return run if isinstance(run, dict) else None


def _holds_anything(folder: Path) -> bool:
    """But for what a run leaves that was killed while it claimed the folder."""
    torn = _torn(folder, CONFIG)
    return any(path not in torn for path in folder.iterdir())


def _is_run(config: Path) -> bool:
    """Whether a run of ours wrote this config.json. Raises nothing."""
    try:
        return _run_of(read_json(config, "run's config.json")) is not None
    except DuomemError:  # ours are written whole or not at all
        return False


def digest(value: Any) -> str:
    """SHA-256 in hex of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
