"""Trajectories -> token rows in which every answer of the student is supervised, and nothing else."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from duomem_mlx.errors import DuomemError
from duomem_mlx.prompt import Example
from duomem_mlx.trajectory import Trajectory

if TYPE_CHECKING:
    from duomem_mlx.student.transcript import Writer

Examples = Callable[[Trajectory, int], Sequence[Example]]
Refused = Callable[[str], bool]


@dataclass(frozen=True)
class Row:
    """One sequence. `trained[t]` says that token t is predicted, from those before it, and scored."""

    id: str  # the trajectory's, with "#2" and so on where it was cut between turns
    tokens: npt.NDArray[np.int32]  # [T]
    trained: npt.NDArray[np.bool_]  # [T]; False at 0, which nothing predicts

    @property
    def supervised(self) -> int:
        return int(self.trained.sum())


@dataclass(frozen=True)
class Epoch:
    """The rows of one pass over the trajectories, and what had to be done to make them fit."""

    rows: tuple[Row, ...]
    cut: int = 0  # trajectories that became more than one row
    memories: int = 0  # memories shown
    left_out: int = 0  # memories that had no room
    refused: int = 0  # refused actions, shown but not trained on

    @property
    def tokens(self) -> int:
        return sum(len(row.tokens) for row in self.rows)

    @property
    def supervised(self) -> int:
        return sum(row.supervised for row in self.rows)


def make_epoch(
    trajectories: Iterable[Trajectory],
    writer: "Writer",
    *,
    max_tokens: int,
    examples: Examples | None = None,
    k: int = 0,
    seed: int = 0,
    epoch: int = 0,
    refused: Refused | None = None,
) -> Epoch:
    """Rows of at most `max_tokens` tokens for every trajectory, in their order.

    `examples(trajectory, n)` gives the n memories that a prompt for its game would show, best first; how many of up to
    `k` a row shows follows from seed, trajectory and epoch. An action the world refused (`refused(observation)`) stays
    in the text untrained. Raises DuomemError naming a trajectory that has nothing to train on or a turn that does not
    fit.
    """
    rows: list[Row] = []
    cut = shown = left_out = refusals = 0
    for trajectory in trajectories:
        wanted = memory_count(seed, trajectory.id, epoch, k) if examples else 0
        memories = list(examples(trajectory, wanted))[:wanted] if examples and wanted else []
        turns = _turns(trajectory, writer, refused)
        if not any(turn.trained for turn in turns):
            raise DuomemError(
                f"Trajectory {trajectory.id} ({trajectory.game}) has no action to train on.",
                "Remove it from the file.",
            )
        start = writer.start(trajectory.opening, memories)
        while memories and len(start) + _widest(turns) > max_tokens:
            memories.pop()
            left_out += 1
            start = writer.start(trajectory.opening, memories)
        parts = _cut(trajectory, start, turns, max_tokens)
        cut += len(parts) > 1
        shown += len(memories)
        refusals += sum(not turn.trained for turn in turns)
        rows.extend(parts)
    return Epoch(tuple(rows), cut, shown, left_out, refusals)


def memory_count(seed: int, trajectory_id: str, epoch: int, k: int) -> int:
    """0 to k, each as likely, by a hash: the student learns to play with few memories and with many."""
    draw = hashlib.sha256(f"{seed}:{trajectory_id}:{epoch}".encode()).digest()
    return int.from_bytes(draw[:8], "big") % (k + 1)


def digest_rows(epochs: Iterable[Epoch]) -> str:
    """SHA-256 in hex of ids, tokens and masks, in order."""
    total = hashlib.sha256()
    for epoch in epochs:
        for row in epoch.rows:
            total.update(row.id.encode() + b"\0" + row.tokens.tobytes() + row.trained.tobytes())
        total.update(b"\n")
    return total.hexdigest()


@dataclass(frozen=True)
class _Turn:
    action: list[int]
    after: list[int]  # from there to where the next action begins
    trained: bool


def _turns(trajectory: Trajectory, writer: "Writer", refused: Refused | None) -> list[_Turn]:
    return [
        _Turn(
            writer.action(step.action, step.thought),
            writer.observation(step.observation),
            not (refused and refused(step.observation)),
        )
        for step in trajectory.steps
    ]


def _widest(turns: Sequence[_Turn]) -> int:
    """Tokens that a turn and the one before it take at most."""
    before = 0
    widest = 0
    for turn in turns:
        widest = max(widest, before + len(turn.action))
        before = len(turn.action) + len(turn.after)
    return widest


def _cut(trajectory: Trajectory, start: list[int], turns: list[_Turn], max_tokens: int) -> list[Row]:
    """Rows that each begin with the start. A later row shows, untrained, the turn before its first, so that every
    action follows the observation it answered."""
    spans: list[tuple[int, int]] = []  # turns [begin, end) that are trained in a row
    begin, used = 0, len(start)
    for i, turn in enumerate(turns):
        if used + len(turn.action) > max_tokens and i > begin:
            spans.append((begin, i))
            begin, used = i, len(start) + len(turns[i - 1].action) + len(turns[i - 1].after)
        if used + len(turn.action) > max_tokens:
            raise DuomemError(
                f"Trajectory {trajectory.id} ({trajectory.game}): its opening and turn {i + 1} take "
                f"{used + len(turn.action)} tokens.",
                f"Set --max-seq-length, now {max_tokens}, to that, or remove the trajectory.",
            )
        used += len(turn.action) + len(turn.after)
    spans.append((begin, len(turns)))
    rows: list[Row] = []
    for begin, end in spans:
        shown = turns[max(begin - 1, 0) : end]
        if any(turn.trained for turn in turns[begin:end]):
            name = trajectory.id if not rows else f"{trajectory.id}#{len(rows) + 1}"
            rows.append(_row(name, start, shown, bridge=begin > 0))
    return rows


def _row(name: str, start: list[int], turns: Sequence[_Turn], bridge: bool) -> Row:
    tokens, trained = list(start), [False] * len(start)
    last = max(i for i, turn in enumerate(turns) if turn.trained)  # nothing after it is learnt from
    for i, turn in enumerate(turns[: last + 1]):
        tokens += turn.action
        trained += [turn.trained and not (bridge and i == 0)] * len(turn.action)
        if i < last:
            tokens += turn.after
            trained += [False] * len(turn.after)
    return Row(name, np.array(tokens, np.int32), np.array(trained, bool))


def shown_row(row: Row, decode: Callable[[Sequence[int]], str]) -> list[tuple[str, bool]]:
    """The row's text in spans of (text, trained), for a person to look at."""
    edges = [0, *(np.flatnonzero(np.diff(row.trained)) + 1).tolist(), len(row.tokens)]
    return [(decode(row.tokens[a:b].tolist()), bool(row.trained[a])) for a, b in itertools.pairwise(edges)]


def split_held_out(
    trajectories: Sequence[Trajectory], share: float, group: Callable[[Trajectory], Any], seed: int
) -> tuple[list[Trajectory], list[Trajectory]]:
    """(trained on, held out): whole groups are held out, drawn by hash, until they hold `share` of the
    trajectories; at least one group is left to train on."""
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(str(group(trajectory)), []).append(trajectory)
    drawn = sorted(groups, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    held: set[str] = set()
    count = 0
    for name in drawn[:-1]:
        if count >= share * len(trajectories):
            break
        held.add(name)
        count += len(groups[name])
    kept = [t for t in trajectories if str(group(t)) not in held]
    return kept, [t for t in trajectories if str(group(t)) in held]
