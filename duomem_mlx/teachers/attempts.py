"""The attempts of a run on disk: what was won and what was not, so that a run that was stopped goes on."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from duomem_mlx.paths import append_json, mend_tail
from duomem_mlx.trajectory import Trajectory, read_trajectories, to_record

WON = "trajectories.jsonl"
NOT_WON = "failures.jsonl"
SYNC_EVERY_S = 1.0  # a sync costs milliseconds, a household game hardly more


class Outcome(NamedTuple):
    """What is remembered of an attempt that is on disk."""

    game: str
    split: str
    kind: str
    task: str
    won: bool
    end: str
    steps: int


class Attempts:
    """Trajectories of one folder: games won in `trajectories.jsonl`, all others in `failures.jsonl`."""

    def __init__(self, folder: Path) -> None:
        """Reads what is there; last lines that a killed run left torn are cut.

        Raises DuomemError naming the line when one before them is not whole.
        """
        self.folder = folder
        self.done: dict[str, Outcome] = {}  # by game; only what is synced
        self._waiting: list[Trajectory] = []
        self._synced = time.monotonic()
        for name in (WON, NOT_WON):
            mend_tail(folder / name)
            if (folder / name).is_file() and (folder / name).stat().st_size:
                self._remember(read_trajectories(folder / name))

    def add(self, trajectory: Trajectory) -> None:
        """Keep an attempt. It is on disk after the next `sync`, which comes by itself about once a second.

        Raises DuomemError when the disk refuses; what was synced before stays whole.
        """
        self._waiting.append(trajectory)
        if time.monotonic() - self._synced >= SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Write and sync what waits."""
        waiting, self._waiting = self._waiting, []
        for name, won in ((WON, True), (NOT_WON, False)):
            append_json(self.folder / name, [to_record(trajectory) for trajectory in waiting if trajectory.won is won])
        self._remember(waiting)
        self._synced = time.monotonic()

    def _remember(self, trajectories: Sequence[Trajectory] | Iterator[Trajectory]) -> None:
        for t in trajectories:
            self.done[t.game] = Outcome(t.game, t.split, t.kind, t.task, t.won, t.end, len(t.steps))


@contextmanager
def attempts_in(folder: Path) -> Iterator[Attempts]:
    """The attempts of a folder; whatever ends the block, what was added to them is on disk afterwards."""
    attempts = Attempts(folder)
    try:
        yield attempts
    finally:
        attempts.sync()


def summary_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Counts over attempts: games, won, `success` (0 to 1), mean steps of the games won (None without one), the same
    by kind under `by_type`, and the games not won."""
    kinds = sorted({outcome.kind for outcome in outcomes})
    return {
        **_counts(outcomes),
        "by_type": {kind: _counts([o for o in outcomes if o.kind == kind]) for kind in kinds},
        "not_won": [{"game": o.game, "task": o.task, "end": o.end, "steps": o.steps} for o in outcomes if not o.won],
    }


def _counts(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    won = [outcome.steps for outcome in outcomes if outcome.won]
    return {
        "games": len(outcomes),
        "won": len(won),
        "success": round(len(won) / len(outcomes), 4),
        "steps_mean_won": round(fmean(won), 2) if won else None,
    }
