"""The attempts of a run on disk: what was won and what was not, so that a run that was stopped goes on."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from duomem_mlx.paths import alone_in, append_json, mend_tail
from duomem_mlx.trajectory import Trajectory, read_trajectories, to_record

WON = "trajectories.jsonl"
NOT_WON = "failures.jsonl"
AGAIN = "repeats.jsonl"  # won by the very actions of an earlier attempt
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
    id: str  # the trajectory's, which follows from game and actions


class Attempts:
    """Trajectories of one folder: each way in which a game was won once in `trajectories.jsonl`, the same way again in
    `repeats.jsonl`, all others in `failures.jsonl`."""

    def __init__(self, folder: Path) -> None:
        """Reads what is there; last lines that a killed run left torn are cut.

        Raises DuomemError naming the line when one before them is not whole.
        """
        self.folder = folder
        self.done: dict[str, list[Outcome]] = {}  # by game; only what is synced
        self.won: set[str] = set()  # games, those that wait for the disk too
        self._waiting: list[tuple[str, Trajectory]] = []
        self._ways: set[str] = set()  # ids of all that won
        self._synced = time.monotonic()
        for name in (WON, AGAIN, NOT_WON):
            mend_tail(folder / name)
            if (folder / name).is_file() and (folder / name).stat().st_size:
                for trajectory in read_trajectories(folder / name):
                    self._remember(trajectory)

    def add(self, trajectory: Trajectory) -> None:
        """Keep an attempt. It is on disk after the next `sync`, which comes by itself about once a second.

        Raises DuomemError when the disk refuses; what was synced before stays whole.
        """
        self._waiting.append((self._file_of(trajectory), trajectory))
        if time.monotonic() - self._synced >= SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Write and sync what waits; what the disk refuses goes on waiting."""
        for name in (WON, AGAIN, NOT_WON):
            batch = [trajectory for file, trajectory in self._waiting if file == name]
            append_json(self.folder / name, [to_record(trajectory) for trajectory in batch])
            self._waiting = [(file, trajectory) for file, trajectory in self._waiting if file != name]
            for trajectory in batch:
                self._remember(trajectory)
        self._synced = time.monotonic()

    def _file_of(self, trajectory: Trajectory) -> str:
        if not trajectory.won:
            return NOT_WON
        known = len(self._ways)
        self._ways.add(trajectory.id)
        self.won.add(trajectory.game)
        return WON if len(self._ways) > known else AGAIN

    def _remember(self, t: Trajectory) -> None:
        if t.won:
            self._ways.add(t.id)
            self.won.add(t.game)
        self.done.setdefault(t.game, []).append(
            Outcome(t.game, t.split, t.kind, t.task, t.won, t.end, len(t.steps), t.id)
        )


@contextmanager
def attempts_in(folder: Path) -> Iterator[Attempts]:
    """The attempts of a folder; whatever ends the block, what was added to them is on disk afterwards. Raises
    DuomemError when another process has them."""
    with alone_in(folder):
        attempts = Attempts(folder)
        try:
            yield attempts
        finally:
            attempts.sync()


def ways_won(outcomes: Sequence[Outcome]) -> int:
    """In how many different ways a game was won."""
    return len({outcome.id for outcome in outcomes if outcome.won})


def summary_of(games: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
    """Counts over games, each given as its attempts (at least one): games, won, `success` (0 to 1), `solutions`
    (different ways of winning), `attempts`, mean steps of the solutions (None without one), the same by kind under
    `by_type`, and the last attempts of the games not won."""
    kinds = sorted({attempts[0].kind for attempts in games})
    lost = [attempts[-1] for attempts in games if not ways_won(attempts)]
    return {
        **_counts(games),
        "by_type": {kind: _counts([game for game in games if game[0].kind == kind]) for kind in kinds},
        "not_won": [{"game": o.game, "task": o.task, "end": o.end, "steps": o.steps} for o in lost],
    }


def _counts(games: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
    steps = {outcome.id: outcome.steps for attempts in games for outcome in attempts if outcome.won}
    won = sum(ways_won(attempts) > 0 for attempts in games)
    return {
        "games": len(games),
        "won": won,
        "success": round(won / len(games), 4) if games else 0.0,
        "solutions": len(steps),
        "attempts": sum(map(len, games)),
        "steps_mean_won": round(fmean(steps.values()), 2) if steps else None,
    }
