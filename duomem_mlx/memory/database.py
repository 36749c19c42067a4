"""The database file of a live bank: its tables, opening it, and what SQLite has to say put into sentences."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duomem_mlx.errors import DuomemError, UsageError, refuse_newer
from duomem_mlx.memory.folders import DATABASE
from duomem_mlx.paths import disk_faults, replacing

FORMAT = 2
APPLICATION = 0x44554F4D  # "DUOM", what `file` and SQLite know the database by
RESTORE = "Restore it from a copy, or import an exported one."
_WAIT_S = 60.0  # for another process that is writing

_LEDGER = "CREATE TABLE learnt(episode TEXT PRIMARY KEY) WITHOUT ROWID;  -- games that were counted; new in format 2"

SCHEMA = f"""
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE memories(
  position INTEGER PRIMARY KEY,     -- row of vectors.f32, never given twice in a generation
  mark INTEGER NOT NULL,            -- random; see matrix.Stamp
  id TEXT NOT NULL UNIQUE,
  experience TEXT NOT NULL UNIQUE,
  task TEXT NOT NULL, script TEXT NOT NULL, steps TEXT NOT NULL, "key" TEXT NOT NULL,
  environment TEXT NOT NULL, game TEXT NOT NULL, split TEXT NOT NULL, teacher TEXT NOT NULL,
  trajectory TEXT NOT NULL, won INTEGER NOT NULL,
  uses INTEGER NOT NULL, wins INTEGER NOT NULL, strength INTEGER NOT NULL, created TEXT NOT NULL,
  vector BLOB NOT NULL              -- float32 little-endian
);
CREATE INDEX memories_key ON memories("key");
CREATE TABLE holes(
  number INTEGER PRIMARY KEY,       -- 1, 2, 3 ... in the order of forgetting
  mark INTEGER NOT NULL,
  position INTEGER NOT NULL UNIQUE, position_mark INTEGER NOT NULL
);
{_LEDGER}
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
"""


def connect(path: Path) -> tuple[sqlite3.Connection, bool]:
    """A connection, and whether it can write. A folder that cannot be written is read as it lies."""
    if not path.is_file():
        raise UsageError(f"There is no bank at {path.parent}.", "Check the path, or make one with `memories build`.")
    ways = [("mode=rw", True), ("mode=ro", False), ("mode=ro&immutable=1", False)]
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        del ways[0]
    log = path.with_name(f"{path.name}-wal")
    if log.is_file() and log.stat().st_size:
        ways = [way for way in ways if "immutable" not in way[0]]  # it would not see what the log holds
    for mode, writable in ways:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=_WAIT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA fullfsync = ON")
            db.execute("PRAGMA checkpoint_fullfsync = ON")
            db.execute("PRAGMA secure_delete = ON")
            db.execute(f"PRAGMA journal_size_limit = {16 << 20}")
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return db, writable
        except sqlite3.OperationalError:
            db.close()
            if mode == ways[-1][0]:
                raise
    raise AssertionError("there is always a last way")


def check_format(db: sqlite3.Connection, folder: Path) -> None:
    """Raise DuomemError when it is no bank, or of a newer format than this program's."""
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise DuomemError(f"{folder / DATABASE} is not a bank.", "Check the path.")
    refuse_newer(f"The bank {folder}", format_of(db), FORMAT)


def format_of(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection, folder: Path) -> None:
    """Bring a bank of an older format to this one, in the transaction that `db` writes in; a copy of what it was is
    kept beside it, as `bank.sqlite3.format-N`. Raises DuomemError when the disk refuses."""
    version = format_of(db)
    if version == FORMAT:
        return
    with replacing(folder / f"{DATABASE}.format-{version}") as part:
        reader, copy = sqlite3.connect(folder / DATABASE), sqlite3.connect(part)
        try:
            reader.backup(copy)  # what was committed; nobody else can write meanwhile
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole in itself
        finally:
            copy.close()
            reader.close()
    db.execute(_LEDGER)
    db.execute(f"PRAGMA user_version = {FORMAT}")


def remove_copies(folder: Path) -> None:
    """What `migrate` kept, which would still hold what is forgotten. Raises DuomemError when the disk refuses."""
    for copy in folder.glob(f"{DATABASE}.format-*"):
        with disk_faults(copy):
            copy.unlink(missing_ok=True)


@contextmanager
def sqlite_faults(folder: Path) -> Iterator[None]:
    """Turn what SQLite can say into one sentence."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            what, fix = f"Another process has been writing to the bank {folder} for too long.", "Try again."
        elif "full" in text:
            what, fix = f"The bank {folder} cannot be changed: the disk is full.", "Free some space and try again."
        elif "readonly" in text:
            what = f"The bank {folder} cannot be changed: its folder is read-only or the disk is full."
            fix = "Free some space, or copy it to another place."
        elif "decode" in text or "no such" in text:
            what, fix = f"The bank {folder} is damaged: {text}.", RESTORE
        else:
            what, fix = (
                f"The bank {folder} cannot be used: {text}.",
                "Check the folder, its permissions and the space left.",
            )
        raise DuomemError(what, fix) from error
    except sqlite3.DatabaseError as error:
        raise DuomemError(f"The bank {folder} is damaged: {error}.", RESTORE) from error
