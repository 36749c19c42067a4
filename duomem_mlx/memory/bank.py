"""A bank of memories: kept, found by the text of a task, forgotten. One face for the live and the sealed form."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.memory.folders import HEAD, find_bank, replacing_bank
from duomem_mlx.memory.index import Floats, nearest, unit
from duomem_mlx.memory.keys import TASK, Facts, key_of
from duomem_mlx.memory.live import Live
from duomem_mlx.memory.ranking import Hit as Hit
from duomem_mlx.memory.ranking import Limits, passing, ranked_hits, spread
from duomem_mlx.memory.record import Memory, check
from duomem_mlx.memory.sealed import Sealed, write_sealed
from duomem_mlx.paths import alone_in

_ENCODE_ROWS = 64


class Encoder(Protocol):
    """What turns text into vectors. Two encoders of the same fingerprint give the same vectors."""

    @property
    def id(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> Floats:
        """float32 [N, D], unit rows."""


@dataclass(frozen=True)
class Receipt:
    """What a bank has forgotten: neither text nor vector of `forgotten` is in it any more."""

    forgotten: tuple[str, ...]
    unknown: tuple[str, ...]  # asked for, but not there
    left: int  # memories in the bank afterwards
    when: str


class Bank:
    """Memories and the vectors they are found by. `Bank.open` and `Bank.create` make one."""

    def __init__(self, store: Live | Sealed, encoder: Encoder | None) -> None:
        self._store = store
        self._encoder = encoder
        self.facts: Facts | None = None  # what finds key facts, for a bank that is found by them
        if encoder is not None:
            self._refuse_other(encoder)

    @staticmethod
    def open(path: Path | str, encoder: Encoder | None = None) -> "Bank":
        """The bank in a folder, live or sealed, or the one of a name (`find_bank`). Its encoder is loaded when a text
        is first encoded, unless one is given. Raises UsageError when there is no bank, DuomemError when it is damaged
        or made by another encoder."""
        folder = Path(path) if Path(path).is_dir() else find_bank(str(path))
        return Bank(Sealed(folder) if (folder / HEAD).is_file() else Live(folder), encoder)

    @staticmethod
    def create(path: Path | str, encoder: Encoder, *, by: str = TASK, built_from: str = "", finder: str = "") -> "Bank":
        """A new, empty, live bank. `by` says what kind of text its keys are, `finder` who finds key facts for it.
        Raises UsageError when something is at `path` already."""
        folder = Path(path)
        Live.create(folder, encoder.id, encoder.fingerprint, encoder.dimensions, by, built_from, finder)
        return Bank(Live(folder), encoder)

    @staticmethod
    @contextmanager
    def building(
        path: Path,
        encoder: Encoder,
        *,
        by: str = TASK,
        built_from: str = "",
        finder: str = "",
        overwrite: bool = False,
    ) -> Iterator["Bank"]:
        """A new live bank that comes to stand at `path`, whole, when the block ends well."""
        with (
            replacing_bank(path, overwrite) as part,
            Bank.create(part, encoder, by=by, built_from=built_from, finder=finder) as bank,
            alone_in(part),  # another folder than the empty one that it took the place of
        ):
            yield bank

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> "Bank":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.path.resolve().name

    @property
    def path(self) -> Path:
        return self._store.folder

    @property
    def sealed(self) -> bool:
        return self._store.sealed

    @property
    def encoder_id(self) -> str:
        return self._store.encoder_id

    @property
    def fingerprint(self) -> str:
        """Of its encoder."""
        return self._store.fingerprint

    @property
    def dimensions(self) -> int:
        return self._store.dimensions

    @property
    def by(self) -> str:
        """What kind of text its memories are found by: see `key_of`."""
        return self._store.by

    @property
    def built_from(self) -> str:
        """Hash of what `memories build` made it from; empty where it grew in another way."""
        return self._store.built_from

    @property
    def finder(self) -> str:
        """Who found the key facts that its memories are found by; empty where it is found by something else."""
        return self._store.finder

    def __len__(self) -> int:
        return len(self._store)

    def __iter__(self) -> Iterator[Memory]:
        """All memories, by id."""
        return iter(self._store)

    @property
    def identity(self) -> str:
        """16 hex digits that name its contents: the ids of its memories and its encoder, whatever its form."""
        text = "\n".join(
            [self.fingerprint, self.by, *([self.finder] if self.finder else []), *(memory.id for memory in self)]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def get(self, prefix: str) -> Memory:
        """The memory whose id is, or alone starts with, `prefix`. Raises UsageError when it is none or several."""
        found = self._store.find(prefix) if prefix else []
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{len(found)} memories have an id that starts with {prefix!r}.", "Give more of it.")
        raise UsageError(f"The bank {self.path} has no memory {prefix!r}.", "`memories list` shows their ids.")

    def find(self, id_: str) -> Memory | None:
        """The memory of a whole id; None where it is not (or no longer) there."""
        return next((memory for memory in self._store.find(id_) if memory.id == id_), None)

    # -- finding ---------------------------------------------------------------------------------------------

    def question(self, task: str, opening: str) -> str:
        """What to ask for a game: the same kind of text as this bank's keys; see `key_of`."""
        return key_of(self.by, task, opening, self.facts)

    def search(
        self,
        text: str,
        k: int = 4,
        *,
        exclude_game: str | None = None,
        per_task: int | None = 1,
        floor: float = -1.0,
        diversity: float = 0.0,
        won_only: bool = False,
    ) -> list[Hit]:
        """The k memories nearest to `text`, best first, ties by id; fewer where the bank has no more.

        text: what the keys are, by default a bare task sentence; nothing is found for an empty one. exclude_game: no
        memory from this game. per_task: at most so many of one and the same task sentence, None for all. floor: the
        least cosine that counts. diversity: 0 to below 1, how much a likeness to what was chosen before counts
        against a memory (maximal marginal relevance, Carbonell and Goldstein 1998, with 1 - lambda). won_only: only
        memories of games that were won, for a bank that keeps failures too.
        """
        limits = Limits(per_task, floor, won_only)
        return self._search([text], k, [exclude_game], limits, diversity)[0]

    def search_many(
        self,
        texts: Sequence[str],
        k: int = 4,
        exclude_games: Sequence[str | None] | None = None,
        *,
        per_task: int | None = 1,
        floor: float = -1.0,
        diversity: float = 0.0,
        won_only: bool = False,
    ) -> list[list[Hit]]:
        """`search` for several texts in one go, with the same result."""
        limits = Limits(per_task, floor, won_only)
        return self._search(texts, k, exclude_games or [None] * len(texts), limits, diversity)

    def _search(
        self, texts: Sequence[str], k: int, excluded: Sequence[str | None], limits: Limits, diversity: float
    ) -> list[list[Hit]]:
        asked = [i for i, text in enumerate(texts) if text.strip()]
        hits: list[list[Hit]] = [[] for _ in texts]
        if k <= 0 or not asked or not len(self):
            return hits
        queries = self.encode([texts[i].strip() for i in asked])
        pool = k if not diversity else max(50, 10 * k)
        with self._store.snapshot() as seen:
            found = nearest(seen.vectors, queries, 4 * pool)  # enough for most when copies are thinned
            for row, i in enumerate(asked):
                ranked = ranked_hits(seen, queries[row : row + 1], found[row], pool, excluded[i], limits)
                chosen = spread(seen.vectors, ranked, k, diversity) if diversity else ranked[:k]
                hits[i] = [hit for _, hit in chosen]
        return hits

    def random(
        self, k: int, seed: int | str, *, exclude_game: str | None = None, per_task: int | None = 1
    ) -> list[Hit]:
        """k memories drawn without a look at any task, the control of a search; their cosine is given as 0.

        The draw follows from the seed, the excluded game and the memories' ids, whatever form the bank has: with one
        seed every game has its own.
        """
        salt = f"{seed}:{exclude_game or ''}:"
        draw = sorted(self, key=lambda memory: hashlib.sha256(f"{salt}{memory.id}".encode()).digest())
        return [Hit(memory, 0.0) for memory in passing(draw, exclude_game, Limits(per_task))][: max(k, 0)]

    # -- changing --------------------------------------------------------------------------------------------

    def add(self, memories: Sequence[Memory], advance: Callable[[int], object] | None = None) -> list[str]:
        """Keep memories, all or none; returns the id under which each is found. The same experience (task and
        script) a second time makes the first one stronger. `advance` is told how many distinct keys are encoded.

        Raises UsageError when the bank is sealed, DuomemError when a memory is not fit to be kept or the disk refuses.
        """
        return self.change(add=memories, advance=advance)[0]

    def change(
        self,
        *,
        add: Sequence[Memory] = (),
        forget: Sequence[str] = (),
        used: Sequence[str] = (),
        won: bool = False,
        prune: tuple[int, float] | None = None,
        episode: str | None = None,
        advance: Callable[[int], object] | None = None,
    ) -> tuple[list[str], list[str]]:
        """Several changes in one: whole, or none of it. With the id of an `episode`, once and never again.

        A game, `won` or not, is counted for every memory that was `used`; those in `forget` are deleted, and those
        used that by now were in at least `prune[0]` games and won less than the share `prune[1]` of them; those in
        `add` are kept. Returns the ids under which what was added is found, and the ids that are gone. Raises as
        `add` does.
        """
        store = self._live()
        for memory in add:
            check(memory, f"The memory of {memory.task[:60]!r}")
        vectors = self.encode([memory.key for memory in add], advance)
        return store.change(add=add, vectors=vectors, forget=forget, used=used, won=won, prune=prune, episode=episode)

    def add_bank(self, other: "Bank") -> list[str]:
        """Keep all memories of another bank, all or none. Vectors are taken over where its encoder is the same, and
        made anew where not."""
        import numpy as np

        if (other.by, other.finder) != (self.by, self.finder):
            theirs, ours = (f"{b.by} {b.finder}".strip() for b in (other, self))
            raise UsageError(f"{other.path} is found by {theirs}, {self.path} by {ours}.", "Make a new bank.")
        if other.fingerprint != self.fingerprint:
            return self.add(list(other))
        store = self._live()
        with other._store.snapshot() as seen:
            items = [(memory, vector) for _, memory, vector in seen.everything()]
        vectors = np.frombuffer(b"".join(vector for _, vector in items), "<f4").reshape(-1, self.dimensions)
        return store.change(add=[memory for memory, _ in items], vectors=vectors)[0]

    def forget(self, ids: Sequence[str]) -> Receipt:
        """Delete memories by their whole ids: text and vector leave in one commit, and no search finds them again. A
        copy that was kept of an older format goes too."""
        wanted = list(dict.fromkeys(ids))
        self._live().remove_copies()
        _, gone = self.change(forget=wanted)
        unknown = tuple(id_ for id_ in wanted if id_ not in set(gone))
        return Receipt(tuple(gone), unknown, len(self), datetime.now(UTC).isoformat(timespec="seconds"))

    def learnt(self, episode: str) -> bool:
        """Whether `change` was made with the id of this episode."""
        return isinstance(self._store, Live) and self._store.learnt(episode)

    def credit(self, ids: Sequence[str], won: bool) -> None:
        """Count one game, won or not, for every memory that was in its prompt."""
        self.change(used=ids, won=won)

    # -- keeping ---------------------------------------------------------------------------------------------

    def export(self, path: Path | str, overwrite: bool = False) -> int:
        """Write a sealed copy, whole or not at all; the same memories give the same bytes. Returns how many."""
        with self._store.snapshot() as seen:
            return write_sealed(
                Path(path),
                ((memory, vector) for _, memory, vector in seen.everything()),
                encoder_id=self.encoder_id,
                fingerprint=self.fingerprint,
                dimensions=self.dimensions,
                by=self.by,
                built_from=self.built_from,
                finder=self.finder,
                overwrite=overwrite,
            )

    def copy(self, path: Path | str) -> "Bank":
        """A live bank with the same memories at `path`, whole or not at all. Raises as `create` does."""
        with replacing_bank(Path(path)) as part:
            meta = (self.encoder_id, self.fingerprint, self.dimensions, self.by, self.built_from, self.finder)
            Live.create(part, *meta)
            with Bank(Live(part), self._encoder) as twin:
                twin.add_bank(self)
        return Bank(Live(Path(path)), self._encoder)

    def verify(self) -> list[str]:
        """What is wrong with it, a sentence each; nothing when it is sound."""
        return self._store.check()

    # -- its encoder -----------------------------------------------------------------------------------------

    def encode(self, texts: Sequence[str], advance: Callable[[int], object] | None = None) -> Floats:
        """float32 [N, D]. A text that is a key already has the vector of that key: an encoder's last bits depend on
        what else it is given, and equal texts shall have equal vectors."""
        import numpy as np

        known = self._store.vectors_of(dict.fromkeys(texts))
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(new), _ENCODE_ROWS):
            some = new[start : start + _ENCODE_ROWS]
            known.update(zip(some, (row.tobytes() for row in self._encode_new(some)), strict=True))
            if advance is not None:
                advance(len(known))
        return np.frombuffer(b"".join(known[text] for text in texts), "<f4").reshape(len(texts), self.dimensions)

    def _encode_new(self, texts: Sequence[str]) -> Floats:
        if self._encoder is None:
            from duomem_mlx.memory.encoder import load_encoder

            encoder: Encoder = load_encoder(self.encoder_id)
            self._refuse_other(encoder)
            self._encoder = encoder
        try:
            rows = unit(self._encoder.encode(texts), self.dimensions)
        except ValueError as error:
            raise DuomemError(f"The encoder {self._encoder.id} gave no usable vectors: {error}.") from None
        if len(rows) != len(texts):
            raise DuomemError(f"The encoder {self._encoder.id} gave {len(rows)} vectors for {len(texts)} texts.")
        return rows

    def _refuse_other(self, encoder: Encoder) -> None:
        if (encoder.fingerprint, encoder.dimensions) != (self.fingerprint, self.dimensions):
            raise DuomemError(
                f"The bank {self.path} was made with the encoder {self.encoder_id} ({self.fingerprint[:12]}, "
                f"{self.dimensions} dimensions), not with {encoder.id} ({encoder.fingerprint[:12]}, "
                f"{encoder.dimensions} dimensions).",
                "Use its own encoder, or make it anew with `memories import --encoder`.",
            )

    def _live(self) -> Live:
        if isinstance(self._store, Sealed):
            raise UsageError(f"The bank {self.path} is sealed.", "`memories import` makes a live copy of it.")
        return self._store
