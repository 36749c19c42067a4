"""Trajectories -> token rows in which every answer of the student is supervised, and nothing else."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from duomem_mlx.errors import DuomemError
from duomem_mlx.prompt import Example
from duomem_mlx.trajectory import Step, Trajectory

if TYPE_CHECKING:
    from duomem_mlx.student.transcript import Writer

Examples = Callable[[Trajectory, int], Sequence[Example]]
Refused = Callable[[str], bool]


@dataclass(frozen=True)
class Row:
    """One sequence. `trained[t]` says that at place t a token is predicted, from those before it, and scored."""

    id: str  # the trajectory's, with "#2" and so on where it was cut between turns
    tokens: npt.NDArray[np.int32]  # [T]
    trained: npt.NDArray[np.bool_]  # [T]; False at 0, which nothing predicts
    corrected: Mapping[int, int] = field(default_factory=dict)  # place -> the token predicted there, if not tokens[t]
    weight: float = 1.0  # of each supervised token in every mean: 1 / solutions of the game

    @property
    def wanted(self) -> npt.NDArray[np.int32]:
        """[T], what is predicted at each place that is trained."""
        wanted = self.tokens.copy()
        wanted[list(self.corrected)] = list(self.corrected.values())
        return wanted

    @property
    def supervised(self) -> int:
        return int(self.trained.sum())

    @property
    def mass(self) -> float:
        """What it counts in a mean over supervised tokens."""
        return self.weight * self.supervised


@dataclass(frozen=True)
class Epoch:
    """The rows of one pass over the trajectories, and what had to be done to make them fit."""

    rows: tuple[Row, ...]
    cut: int = 0  # trajectories that became more than one row
    memories: int = 0  # memories shown
    left_out: int = 0  # memories that had no room
    refused: int = 0  # refused actions, shown but not trained on
    silent: int = 0  # answers without an action, shown but not trained on
    corrections: int = 0  # actions shown of which only the token is trained that a teacher would have said instead
    clipped: int = 0  # openings and observations that were cut from the middle

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
    drawn_by: Callable[[Trajectory], str] = lambda trajectory: trajectory.id,
) -> Epoch:
    """Rows of at most `max_tokens` tokens for every trajectory, in their order.

    `examples(trajectory, n)` gives the n memories that a prompt for its game would show, best first; how many of up to
    `k` a row shows follows from seed, `drawn_by(trajectory)` and epoch. An action the world refused
    (`refused(observation)`) stays in the text untrained, and so does an empty one. Where a step says what was wanted
    instead, its action stays in the text, and trained is the one token at which the wanted action first differs from
    it: what a student does in a state of its own is decided there, and one row holds all states of a game. n solutions
    of one game weigh 1 / n each, so that no game counts for more than another because it was solved in more ways; a
    corrected trajectory is no solution. Raises DuomemError naming a trajectory that has nothing to train on or a turn
    that does not fit.
    """
    rows: list[Row] = []
    cut = shown = left_out = refusals = silent = corrections = clipped = 0
    trajectories = list(trajectories)
    solutions = Counter(trajectory.game for trajectory in trajectories if not _corrected(trajectory))
    for trajectory in trajectories:
        wanted = memory_count(seed, drawn_by(trajectory), epoch, k) if examples else 0
        memories = list(examples(trajectory, wanted))[:wanted] if examples and wanted else []
        turns = _turns(trajectory, writer, refused)
        if not any(turn.teaches for turn in turns):
            raise DuomemError(
                f"Trajectory {trajectory.id} ({trajectory.game}) has no action to train on.",
                "Remove it from the file.",
            )
        start = writer.start(trajectory.opening, memories)
        while memories and len(start) + _widest(turns) > max_tokens:
            memories.pop()
            left_out += 1
            start = writer.start(trajectory.opening, memories)
        weight = 1.0 if _corrected(trajectory) else 1 / solutions[trajectory.game]
        parts = _cut(trajectory, start, turns, max_tokens, weight)
        cut += len(parts) > 1
        shown += len(memories)
        mute = sum(_silent(step) for step in trajectory.steps)
        silent += mute
        refusals += sum(not turn.teaches for turn in turns) - mute
        corrections += sum(bool(turn.corrected) for turn in turns)
        clipped += sum(map(writer.cuts, [trajectory.opening, *(step.observation for step in trajectory.steps)]))
        rows.extend(parts)
    return Epoch(tuple(rows), cut, shown, left_out, refusals, silent, corrections, clipped)


def _corrected(trajectory: Trajectory) -> bool:
    return any(step.wanted is not None for step in trajectory.steps)


def memory_count(seed: int, name: str, epoch: int, k: int) -> int:
    """0 to k, each as likely, by a hash: the student learns to play with few memories and with many."""
    draw = hashlib.sha256(f"{seed}:{name}:{epoch}".encode()).digest()
    return int.from_bytes(draw[:8], "big") % (k + 1)


def digest_rows(epochs: Iterable[Epoch]) -> str:
    """SHA-256 in hex of ids, tokens, masks, corrections and weights, in order."""
    total = hashlib.sha256()
    for epoch in epochs:
        for row in epoch.rows:
            total.update(row.id.encode() + b"\0" + row.tokens.tobytes() + row.trained.tobytes())
            if row.corrected:
                total.update(row.wanted.tobytes())
            total.update(row.weight.hex().encode())
        total.update(b"\n")
    return total.hexdigest()


@dataclass(frozen=True)
class _Turn:
    action: list[int]
    after: list[int]  # from there to where the next action begins
    trained: bool  # the whole action
    corrected: Mapping[int, int] = field(default_factory=dict)  # place in the action -> the token wanted there

    @property
    def teaches(self) -> bool:
        return self.trained or bool(self.corrected)


def _turns(trajectory: Trajectory, writer: "Writer", refused: Refused | None) -> list[_Turn]:
    return [_turn(step, writer, refused) for step in trajectory.steps]


def _turn(step: Step, writer: "Writer", refused: Refused | None) -> _Turn:
    action, after = writer.action(step.action, step.thought), writer.observation(step.observation)
    if step.wanted is None:
        return _Turn(action, after, not (_silent(step) or (refused and refused(step.observation))))
    wanted = writer.action(step.wanted, step.thought)
    parted = next((i for i, (ours, theirs) in enumerate(zip(action, wanted, strict=False)) if ours != theirs), None)
    return _Turn(action, after, False, {} if parted is None else {parted: wanted[parted]})


def _silent(step: Step) -> bool:
    return step.wanted is None and not step.action.strip()


def _widest(turns: Sequence[_Turn]) -> int:
    """Tokens that a turn and the one before it take at most."""
    before = 0
    widest = 0
    for turn in turns:
        widest = max(widest, before + len(turn.action))
        before = len(turn.action) + len(turn.after)
    return widest


def _cut(trajectory: Trajectory, start: list[int], turns: list[_Turn], max_tokens: int, weight: float) -> list[Row]:
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
        if any(turn.teaches for turn in turns[begin:end]):
            name = trajectory.id if not rows else f"{trajectory.id}#{len(rows) + 1}"
            rows.append(_row(name, start, shown, begin > 0, weight))
    return rows


def _row(name: str, start: list[int], turns: Sequence[_Turn], bridge: bool, weight: float) -> Row:
    tokens, trained, corrected = list(start), [False] * len(start), dict[int, int]()
    last = max(i for i, turn in enumerate(turns) if turn.teaches)  # nothing after it is learnt from
    for i, turn in enumerate(turns[: last + 1]):
        learnt = not (bridge and i == 0)
        if learnt:
            corrected |= {len(tokens) + place: token for place, token in turn.corrected.items()}
        trained += [learnt and (turn.trained or place in turn.corrected) for place in range(len(turn.action))]
        tokens += turn.action
        if i < last:
            tokens += turn.after
            trained += [False] * len(turn.after)
    return Row(name, np.array(tokens, np.int32), np.array(trained, bool), corrected, weight)


def shown_row(row: Row, decode: Callable[[Sequence[int]], str]) -> list[tuple[str, bool]]:
    """The row's text in spans of (text, trained), for a person to look at. Where another token is wanted than the one
    that stands there, the span is both, an arrow between."""
    cuts = {0, len(row.tokens), *(np.flatnonzero(np.diff(row.trained)) + 1).tolist()}
    cuts |= {edge for place in row.corrected for edge in (place, place + 1)}
    spans = []
    for a, b in itertools.pairwise(sorted(cuts)):
        text = decode(row.tokens[a:b].tolist())
        shown = f"{text} → {decode([row.corrected[a]])}" if a in row.corrected else text
        spans.append((shown, bool(row.trained[a])))
    return spans


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
