"""A live bank: `bank.sqlite3` holds text, counters and vectors, one transaction a change; `vectors.f32` follows it."""

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory.database import (
    RESTORE,
    SCHEMA,
    check_format,
    connect,
    format_of,
    migrate,
    remove_copies,
    sqlite_faults,
)
from duomem_mlx.memory.folders import DATABASE, MATRIX, replacing_bank
from duomem_mlx.memory.index import MAX_DIMENSIONS, Floats, unit
from duomem_mlx.memory.matrix import Matrix, Stamp
from duomem_mlx.memory.record import MAX_COUNT, Memory, Source

_MANY_HOLES = 1000

_COLUMNS = (
    'id, experience, task, script, steps, "key", environment, game, split, teacher, trajectory, won, '
    "uses, wins, strength, created"
)
_MEMORY = (
    'task, script, steps, "key", environment, game, split, teacher, trajectory, won, uses, wins, strength, created'
)
_INSERT = f"""
INSERT INTO memories(position, mark, vector, {_COLUMNS}) VALUES({",".join("?" * 19)})
ON CONFLICT(experience) DO UPDATE SET
  strength = min({MAX_COUNT}, strength + excluded.strength),
  uses = min({MAX_COUNT}, uses + excluded.uses), wins = min({MAX_COUNT}, wins + excluded.wins)
RETURNING position, id
"""


class Live:
    """The live form of a bank. Safe with several processes and threads at once."""

    sealed = False

    def __init__(self, folder: Path) -> None:
        """Open the bank in `folder`. Raises UsageError when there is none, DuomemError when it cannot be read."""
        self.folder = folder
        self._lock = threading.RLock()
        with sqlite_faults(folder):
            self._db, self._writable = connect(folder / DATABASE)
        try:
            with sqlite_faults(folder):
                check_format(self._db, folder)
                meta = {name: str(value) for name, value in self._db.execute("SELECT name, value FROM meta")}
                self.encoder_id, self.fingerprint = meta["encoder"], meta["fingerprint"]
                self.dimensions, self.by = int(meta["dimensions"]), meta["by"]
                self.built_from, self.finder = meta.get("built_from", ""), meta.get("finder", "")
                self._check_sizes()
        except BaseException as error:
            self._db.close()
            if isinstance(error, KeyError | TypeError | ValueError):
                raise DuomemError(f"The bank {folder} does not say what it holds.", RESTORE) from None
            raise
        self._matrix = Matrix(folder / MATRIX, self.dimensions)

    @staticmethod
    def create(
        folder: Path, encoder_id: str, fingerprint: str, dimensions: int, by: str, built_from: str, finder: str = ""
    ) -> None:
        """Make an empty bank, whole or not at all. Raises UsageError when something is at `folder` already."""
        meta = {
            "encoder": encoder_id,
            "fingerprint": fingerprint,
            "dimensions": str(dimensions),
            "by": by,
            "built_from": built_from,
            "generation": secrets.token_hex(8),
            **({"finder": finder} if finder else {}),
        }
        with replacing_bank(folder) as part, sqlite_faults(folder):
            db = sqlite3.connect(part / DATABASE, isolation_level=None)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(f"BEGIN IMMEDIATE; {SCHEMA}")
                db.executemany("INSERT INTO meta VALUES(?, ?)", meta.items())
                db.execute("COMMIT")
            finally:
                db.close()

    def _check_sizes(self) -> None:
        """Raise ValueError or TypeError for sizes that no bank of this many bytes has: RAM is asked for by them."""
        (size,) = self._db.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
        if not (1 <= self.dimensions <= MAX_DIMENSIONS and self._stamp().rows <= size):
            raise ValueError

    def close(self) -> None:
        """Let go of the files; the bank cannot be used afterwards."""
        with self._lock:
            self._db.close()
            self._matrix.close()

    # -- reading ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        with self._reading():
            stamp = self._stamp()
        return stamp.rows - stamp.holes

    @contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """The bank at one moment: its vectors, and the memories of their rows."""
        with self._lock:
            while True:
                self._follow()
                with self._reading():
                    stamp = self._stamp()
                    # another process may have renumbered the rows since
                    if stamp.generation == self._matrix.stamp.generation:
                        yield Snapshot(self._db, self._matrix.rows)
                        return

    def find(self, prefix: str) -> list[Memory]:
        """The memories whose id starts with `prefix`, by id."""
        query = f"SELECT {_MEMORY} FROM memories WHERE id >= ? AND id < ? ORDER BY id"
        with self._reading():
            return [_memory(row) for row in self._db.execute(query, (prefix, prefix + "g"))]

    def learnt(self, episode: str) -> bool:
        """Whether a change counted this episode."""
        with self._reading():
            return self._has_learnt(episode)

    def _has_learnt(self, episode: str) -> bool:
        query = "SELECT 1 FROM learnt WHERE episode = ?"
        return format_of(self._db) > 1 and self._db.execute(query, (episode,)).fetchone() is not None

    def vectors_of(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The vectors (float32 bytes) of those keys that some memory has already, and whole."""
        query = 'SELECT vector FROM memories WHERE "key" = ? LIMIT 1'
        with self._reading():
            rows = ((key, self._db.execute(query, (key,)).fetchone()) for key in keys)
            return {key: row[0] for key, row in rows if row is not None and len(row[0]) == 4 * self.dimensions}

    def __iter__(self) -> Iterator[Memory]:
        """All memories, by id; what other processes change meanwhile may or may not be seen."""
        query = f"SELECT id, {_MEMORY} FROM memories WHERE id > ? ORDER BY id LIMIT 500"
        last = ""
        while True:
            with self._reading():
                rows = self._db.execute(query, (last,)).fetchall()
            yield from (_memory(row[1:]) for row in rows)
            if not rows:
                return
            last = rows[-1][0]

    def check(self) -> list[str]:
        """What is wrong with the files, a sentence each: the database itself, ids, vectors, and `vectors.f32`."""
        with self._reading():
            problems = [f"SQLite: {row[0]}" for row in self._db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
            stamp = self._stamp()
            count, holes = self._db.execute(
                "SELECT (SELECT count(*) FROM memories), (SELECT count(*) FROM holes)"
            ).fetchone()
            if (count, holes) != (stamp.rows - stamp.holes, stamp.holes):
                problems.append(f"{count} memories and {holes} holes are there, which do not make {stamp.rows} rows")
            problems += self._check_memories()
        if problems:
            return problems  # what follows a broken database is no matter
        return self._check_matrix()

    def _check_memories(self) -> list[str]:
        problems = []
        for id_, experience, vector, *row in self._db.execute(
            f"SELECT id, experience, vector, {_MEMORY} FROM memories"
        ):
            try:
                memory = _memory(row)
            except DuomemError:
                problems.append(f"The memory {id_} is damaged")
                continue
            if (memory.id, memory.experience) != (id_, experience):
                problems.append(f"The memory {id_} is not what its id says")
            if len(vector) != 4 * self.dimensions:
                problems.append(f"The vector of {id_} has {len(vector)} bytes, not {4 * self.dimensions}")
                continue
            try:
                unit(np.frombuffer(vector, "<f4").reshape(1, -1), self.dimensions)
            except ValueError:
                problems.append(f"The vector of {id_} is not of unit length")
        return problems

    def _check_matrix(self) -> list[str]:
        with self.snapshot() as seen:
            matrix = seen.vectors
            problems = [
                f"{MATRIX} disagrees with the vector of {memory.id}"
                for position, memory, vector in seen.everything()
                if matrix[position].tobytes() != vector
            ]
            if matrix[[row for (row,) in self._db.execute("SELECT position FROM holes")]].any():
                problems.append(f"{MATRIX} still holds what was forgotten")
        return problems

    # -- changing --------------------------------------------------------------------------------------------

    def change(
        self,
        *,
        add: Sequence[Memory] = (),
        vectors: Floats | None = None,
        forget: Iterable[str] = (),
        used: Sequence[str] = (),
        won: bool = False,
        prune: tuple[int, float] | None = None,
        episode: str | None = None,
    ) -> tuple[list[str], list[str]]:
        """One transaction: a game, `won` or not, is counted for the memories that were `used`; those in `forget` are
        deleted, and those used whose record is by now at least `prune[0]` games with less than the share `prune[1]`
        won; the memories in `add` are kept with their vectors [N, D], one that is there already becoming stronger.

        Returns the ids under which what was added is found, and the ids that are gone. A change with the id of an
        `episode` is made once: the second time nothing happens.
        """
        with self._writing():
            if episode is not None:
                if self._has_learnt(episode):
                    return [], []
                migrate(self._db, self.folder)
                self._db.execute("INSERT INTO learnt VALUES(?)", (episode,))
            self._credit(used, won)
            doomed = list(forget)
            if prune is not None:
                doomed += self._failing(used, *prune)
            gone = self._delete(doomed)
            found = self._insert(add, vectors) if vectors is not None else []
            stamp = self._stamp()
            if stamp.holes > max(_MANY_HOLES, stamp.rows - stamp.holes):
                self._close_ranks()
        if gone:
            with self._lock, sqlite_faults(self.folder):
                self._follow()
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return found, gone

    def remove_copies(self) -> None:
        """Of older formats of this bank."""
        if self._writable:
            remove_copies(self.folder)

    def _credit(self, ids: Iterable[str], won: bool) -> None:
        query = "UPDATE memories SET uses = uses + 1, wins = wins + ? WHERE id = ?"
        self._db.executemany(query, [(int(won), id_) for id_ in dict.fromkeys(ids)])

    def _failing(self, ids: Iterable[str], games: int, share: float) -> list[str]:
        query = "SELECT id FROM memories WHERE id = ? AND uses >= ? AND wins < ? * uses"
        return [id_ for id_ in ids if self._db.execute(query, (id_, games, share)).fetchone()]

    def _delete(self, ids: Iterable[str]) -> list[str]:
        gone = []
        for id_ in ids:
            row = self._db.execute("DELETE FROM memories WHERE id = ? RETURNING position, mark", (id_,)).fetchone()
            if row is not None:
                self._db.execute("INSERT INTO holes VALUES(NULL, ?, ?, ?)", (_mark(), *row))
                gone.append(id_)
        return gone

    def _insert(self, memories: Iterable[Memory], vectors: Floats) -> list[str]:
        found = []
        position = self._stamp().rows
        for memory, vector in zip(memories, vectors.astype("<f4", copy=False), strict=True):
            values = (position, _mark(), vector.tobytes(), *_values(memory))
            held, id_ = self._db.execute(_INSERT, values).fetchone()
            found.append(id_)
            position += held == position
        return found

    def _close_ranks(self) -> None:
        """Number the rows anew, without holes."""
        positions = self._db.execute("SELECT position FROM memories ORDER BY position").fetchall()
        moves = [(new, old) for new, (old,) in enumerate(positions) if new != old]
        self._db.executemany("UPDATE memories SET position = ? WHERE position = ?", moves)
        self._db.execute("DELETE FROM holes")
        self._db.execute("UPDATE meta SET value = ? WHERE name = 'generation'", (secrets.token_hex(8),))

    # -- the matrix ------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        with self._reading():
            stamp = self._stamp()
            if self._matrix.stamp == stamp or self._matrix.mapped() == stamp:
                return
            if not self._writable:
                self._matrix.follow(stamp, self, shared=False)
                return
        with self._writing():  # nobody else may touch vectors.f32 meanwhile
            self._matrix.follow(self._stamp(), self, shared=True)

    def _stamp(self) -> Stamp:
        (generation,) = self._db.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()
        rows = self._db.execute(
            "SELECT max(coalesce((SELECT max(position) FROM memories), -1),"
            " coalesce((SELECT max(position) FROM holes), -1)) + 1"
        ).fetchone()[0]
        holes = self._db.execute("SELECT coalesce(max(number), 0) FROM holes").fetchone()[0]
        last_row, last_hole = self.marks(rows, holes)
        return Stamp(generation, rows, last_row, holes, last_hole)

    def marks(self, rows: int, holes: int) -> tuple[int, int]:
        row = self._db.execute(
            "SELECT mark FROM memories WHERE position = :p"
            " UNION ALL SELECT position_mark FROM holes WHERE position = :p",
            {"p": rows - 1},
        ).fetchone()
        hole = self._db.execute("SELECT mark FROM holes WHERE number = ?", (holes,)).fetchone()
        return (row[0] if row else 0), (hole[0] if hole else 0)

    def vectors_from(self, row: int) -> Iterator[tuple[int, bytes]]:
        return self._db.execute("SELECT position, vector FROM memories WHERE position >= ? ORDER BY position", (row,))

    def holes_from(self, hole: int) -> Iterator[int]:
        return (row for (row,) in self._db.execute("SELECT position FROM holes WHERE number > ?", (hole,)))

    # -- transactions ----------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, sqlite_faults(self.folder):
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, sqlite_faults(self.folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


class Snapshot:
    """A bank at one moment. `vectors`: float32 [N, D]; rows without a memory are zero or left by a memory just
    forgotten."""

    def __init__(self, db: sqlite3.Connection, vectors: Floats) -> None:
        self._db, self.vectors = db, vectors

    def at(self, rows: Iterable[int]) -> dict[int, Memory]:
        """The memories of these rows; a row that has none is left out."""
        found = {}
        for row in rows:
            columns = self._db.execute(f"SELECT {_MEMORY} FROM memories WHERE position = ?", (row,)).fetchone()
            if columns is not None:
                found[row] = _memory(columns)
        return found

    def everything(self) -> Iterator[tuple[int, Memory, bytes]]:
        """(row, memory, float32 bytes) of all memories, by id."""
        rows = self._db.execute(f"SELECT position, vector, {_MEMORY} FROM memories ORDER BY id")
        return ((position, _memory(rest), vector) for position, vector, *rest in rows)


def _mark() -> int:
    return secrets.randbits(62) + 1


def _values(m: Memory) -> tuple[Any, ...]:
    s = m.source
    steps = json.dumps(m.steps, ensure_ascii=False)
    origin = (s.environment, s.game, s.split, s.teacher, s.trajectory, int(s.won))
    return (m.id, m.experience, m.task, m.script, steps, m.key, *origin, m.uses, m.wins, m.strength, m.created)


def _memory(row: Sequence[Any]) -> Memory:
    """Raises DuomemError for a row that holds no memory: SQLite keeps no checksums, and any type in any column."""
    task, script, steps, key, environment, game, split, teacher, trajectory, won, uses, wins, strength, created = row
    try:
        actions = json.loads(steps)
        texts = [task, script, key, environment, game, split, teacher, trajectory, created, *actions]
        whole = isinstance(actions, list) and all(isinstance(text, str) for text in texts)
        whole = whole and all(isinstance(count, int) for count in (won, uses, wins, strength))
    except (ValueError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise DuomemError(f"The memory of {str(task)[:60]!r} is damaged.", f"`memories verify` says more. {RESTORE}")
    source = Source(environment, game, split, teacher, trajectory, bool(won))
    return Memory(task, script, tuple(actions), source, key, uses, wins, strength, created)
