"""From nearest rows to the memories that are shown: who may be, in which order, and how many of a kind."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from duomem_mlx.memory.index import Floats, Found, nearest
from duomem_mlx.memory.record import Memory


@dataclass(frozen=True)
class Hit:
    """A memory that was found, and the cosine between its key and what was asked for."""

    memory: Memory
    cosine: float


@dataclass(frozen=True)
class Limits:
    """What passes: see `Bank.search`."""

    per_task: int | None = 1
    floor: float = -1.0
    won_only: bool = False


class Rows(Protocol):
    """A bank at one moment."""

    @property
    def vectors(self) -> Floats:
        """float32 [N, D]"""

    def at(self, rows: Iterable[int]) -> dict[int, Memory]:
        """The memories of these rows; a row that has none is left out."""


Ranked = list[tuple[int, Hit]]  # row, hit


def ranked_hits(seen: Rows, query: Floats, found: Found, wanted: int, excluded: str | None, limits: Limits) -> Ranked:
    """Best first, ties by id; at least `wanted` where the bank has so many that pass.

    query: float32 [1, D]; found: what `nearest` gave for it, taken as a start.
    """
    while True:
        rows, cosines = found
        memories = seen.at(rows.tolist())
        pairs = zip(rows.tolist(), cosines.tolist(), strict=True)
        hits = [(row, Hit(memories[row], c)) for row, c in pairs if row in memories and c >= limits.floor]
        hits.sort(key=lambda item: (-item[1].cosine, item[1].memory.id))
        keep = {id(memory) for memory in passing((hit.memory for _, hit in hits), excluded, limits)}
        hits = [item for item in hits if id(item[1].memory) in keep]
        everything = len(rows) == len(seen.vectors) or float(cosines[-1]) < limits.floor
        if everything or len(hits) >= wanted:
            return hits
        (found,) = nearest(seen.vectors, query, 8 * len(rows))


def passing(memories: Iterable[Memory], excluded: str | None, limits: Limits) -> Iterator[Memory]:
    """Those not from the excluded game, at most `per_task` of one task sentence, in their order."""
    count = Counter[str]()
    for memory in memories:
        if (excluded is not None and memory.source.game == excluded) or (limits.won_only and not memory.source.won):
            continue
        task = " ".join(memory.task.casefold().split())
        count[task] += 1
        if limits.per_task is None or count[task] <= limits.per_task:
            yield memory


def spread(vectors: Floats, ranked: Ranked, k: int, diversity: float) -> Ranked:
    """k of the ranked, each the best by its cosine less its likeness to those chosen before."""
    rest, chosen = list(ranked), list[tuple[int, Hit]]()
    while rest and len(chosen) < k:
        likeness = np.zeros(len(rest), np.float32)
        if chosen:
            likeness = (vectors[[row for row, _ in rest]] @ vectors[[row for row, _ in chosen]].T).max(axis=1)
        value = [
            (1 - diversity) * hit.cosine - diversity * float(x) for (_, hit), x in zip(rest, likeness, strict=True)
        ]
        chosen.append(rest.pop(max(range(len(rest)), key=lambda i: (value[i], -i))))
    return chosen
