"""Several processes, on one machine or many, that train one adapter together: `mlx.launch` starts them, MLX's own
distributed engine connects them. Every rank has all rows and all weights and computes its share of each step; what is
written and printed is the first one's business."""

import itertools
import json
import math
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np

from duomem_mlx.errors import DuomemError


class RankLost(DuomemError):
    """Another rank has ended in the middle of the run."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. What they do together, all of them do, in the same order; it
    raises RankLost where another one has ended."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.number == 0

    def share(self, costs: Sequence[float]) -> list[int]:
        """Which of the pieces of work of these costs are this rank's, in their order: each piece goes to whoever has
        least so far. All ranks come to the same division."""
        taken = [0.0] * self.count
        mine = []
        for i, cost in enumerate(costs):
            rank = taken.index(min(taken))
            taken[rank] += cost
            if rank == self.number:
                mine.append(i)
        return mine

    def summed(self, arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """The sum over the ranks of float32 arrays that have the same names and shapes on all of them, evaluated; the
        same bits on every rank."""
        if self.count == 1:
            return dict(arrays)
        flat = _together(mx.concatenate([array.reshape(-1) for array in arrays.values()]))
        ends = list(itertools.accumulate(array.size for array in arrays.values()))
        parts = mx.split(flat, ends[:-1])
        found = {name: part.reshape(array.shape) for (name, array), part in zip(arrays.items(), parts, strict=True)}
        mx.eval(found)
        return found

    def total(self, mine: Mapping[int, float], count: int) -> float:
        """The sum of `count` float32 numbers of which this rank knows some, by their places: added up in one order,
        so that it is the same sum however many ranks there are."""
        known = self.summed({"each": mx.array([mine.get(i, 0.0) for i in range(count)])})
        each: Any = known["each"].tolist()
        return math.fsum(each)

    def from_first(self, data: bytes | None) -> bytes | None:
        """What the first rank has; what the others hand in is not looked at."""
        if self.count == 1:
            return data
        mine = data if self.first else None
        size: Any = _together(mx.array([-1 if self.first and mine is None else len(mine or b"")])).item()
        if size < 0:
            return None
        own = np.frombuffer(mine, np.uint8) if mine is not None else np.zeros(size, np.uint8)
        return np.array(_together(mx.array(own))).tobytes()

    def agree(self, identity: Mapping[str, str]) -> None:
        """Raises DuomemError where this rank is about something else than the first one, naming what differs."""
        first = json.loads(self.from_first(json.dumps(dict(identity)).encode()) or b"{}")
        if differing := sorted(name for name in {*first, *identity} if first.get(name) != identity.get(name)):
            raise DuomemError(
                f"Rank {self.number} has another {' and another '.join(differing)} than rank 0.",
                "Give all ranks the same files, the same model and the same call.",
            )


@cache
def here() -> Ranks:
    """This process's place; the only one where `mlx.launch` did not start it."""
    group = mx.distributed.init()
    return Ranks(group.rank(), group.size())


def heed_launcher() -> None:
    """`mlx.launch` ends all ranks when one has ended: let that be like Ctrl-C, after which the steps done are kept."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if here().count > 1:
        signal.signal(signal.SIGTERM, stop)


def _together(array: mx.array) -> mx.array:
    try:
        total = mx.distributed.all_sum(array, stream=mx.cpu)
        mx.eval(total)
    except RuntimeError as error:
        if threading.current_thread() is threading.main_thread():
            # The launcher's is on its way, and there is something to keep.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise RankLost(
            f"Another rank has ended, so rank {here().number} cannot go on ({str(error).splitlines()[0]}).",
            "Mend what ended it and give the same command again: it goes on from the last checkpoint.",
        ) from None
    return total
