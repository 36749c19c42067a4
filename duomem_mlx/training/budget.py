"""What a run may take of the machine, and how rows are put together to keep to it.

`Means` are resolved once (`probe.resolve`) and kept with the run: how rows are grouped and which are checkpointed
decides the last bits of the weights, so a resumed run never finds them out again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duomem_mlx.training.rows import Row

LEAST_STEP = 64  # widths are rounded up to a multiple of it, where few widths are wanted


@dataclass(frozen=True)
class Cost:
    """Bytes or seconds of a micro-batch: fixed + token · B·T + pair · B·T² + score · S, for B rows filled up to T
    tokens of which S are supervised. Attention that keeps its scores makes the square."""

    fixed: float
    token: float
    pair: float
    score: float

    def of(self, rows: int, width: int, supervised: int) -> float:
        return max(0.0, self.fixed + rows * width * (self.token + width * self.pair) + self.score * supervised)


@dataclass(frozen=True)
class MicroBatch:
    """Rows computed in one pass."""

    rows: tuple[Row, ...]
    width: int  # tokens that each row is filled up to
    again: bool = False  # the backward pass computes each block's forward pass again (`recompute`)
    bytes: int = 0  # what it takes, beside weights and optimizer; 0: nobody measured

    @property
    def supervised(self) -> int:
        return sum(row.supervised for row in self.rows)


@dataclass(frozen=True)
class Means:
    """How many rows are computed at once, and in what space."""

    lanes: int = 1  # micro-batches in the making at the same time, at most
    most_tokens: int = 0  # of a micro-batch, padding included; a row that is longer is alone
    coarse: bool = False  # rows are filled up to few, coarse widths: on a GPU every shape keeps buffers of its own
    recompute: bool | None = None  # gradient checkpointing: always, never, or (None) where memory asks for it
    ram: int | None = None  # bytes, of the whole process
    room: int | None = None  # bytes for all micro-batches in the making; None: no bound
    cache: int | None = None  # bytes of freed buffers that MLX may keep in a process; None: as it is
    plain: Cost | None = None  # bytes without checkpointing
    again: Cost | None = None  # and with it

    def batches(self, rows: Sequence[Row]) -> list[MicroBatch]:
        """Micro-batches that hold every row, the longest first: near-equal lengths together, as many as tokens and
        bytes allow."""
        groups: list[list[Row]] = []
        for row in sorted(rows, key=lambda row: (-len(row.tokens), row.id)):
            if groups and self._may_join(groups[-1], row):
                groups[-1].append(row)
            else:
                groups.append([row])
        return [self._batch(group) for group in groups]

    def overfull(self, batches: Iterable[MicroBatch]) -> list[MicroBatch]:
        """Those for which there is no room even alone."""
        return [batch for batch in batches if self.room is not None and batch.bytes > self.room]

    def _may_join(self, group: Sequence[Row], row: Row) -> bool:
        width = self._width(group[0])
        if width * (len(group) + 1) > self.most_tokens:
            return False
        cost = self.again if self.recompute else self.plain
        if cost is None or self.room is None:
            return True
        supervised = sum(one.supervised for one in group) + row.supervised
        return cost.of(len(group) + 1, width, supervised) <= self.room / self.lanes

    def _batch(self, rows: Sequence[Row]) -> MicroBatch:
        width = self._width(rows[0])
        shape = (len(rows), width, sum(row.supervised for row in rows))
        plain, again = (0 if cost is None else int(cost.of(*shape)) for cost in (self.plain, self.again))
        recompute = self.recompute
        if recompute is None:
            recompute = self.again is not None and self.room is not None and plain > self.room / self.lanes
        return MicroBatch(tuple(rows), width, recompute, again if recompute else plain)

    def _width(self, longest: Row) -> int:
        tokens = len(longest.tokens) - 1  # the last token is only predicted
        if not self.coarse:
            return tokens
        step = max(LEAST_STEP, 1 << max(0, (tokens - 1).bit_length() - 3))  # four widths for every doubling
        return -(-tokens // step) * step


UNBOUNDED = Means()


def from_record(record: Mapping[str, Any]) -> Means:
    """From what `dataclasses.asdict` made of them."""
    costs = {name: None if record[name] is None else Cost(**record[name]) for name in ("plain", "again")}
    return Means(**{**record, **costs})
