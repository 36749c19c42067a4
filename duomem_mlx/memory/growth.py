"""A bank that learns from the games it is used in: what comes in, what is rewritten, what goes.

The policies are MemP's (arXiv 2508.06433): `vanilla` keeps every game, `validation` those that were won, `adjustment`
also rewrites the memory that led to a failure. In all of them a memory that was used three times and won less than half
of those games is removed. Other than there, every memory that was in the prompt gets the credit, not the first alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from duomem_mlx.errors import UsageError
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.record import Memory
from duomem_mlx.memory.scripts import Write, memory_of
from duomem_mlx.trajectory import Trajectory

VANILLA, VALIDATION, ADJUSTMENT = POLICIES = ("vanilla", "validation", "adjustment")

Rewrite = Callable[[Memory, Trajectory], str]


@dataclass(frozen=True)
class Growth:
    """How a bank grows while it is used."""

    policy: str = VALIDATION  # one of POLICIES
    prune_after: int = 3  # games a memory was used in before it can be removed
    prune_below: float = 0.5  # share of them that were won


@dataclass(frozen=True)
class Learned:
    """What one game changed, by ids."""

    added: tuple[str, ...]  # new, or made stronger
    rewritten: tuple[str, ...]  # gone, with another in its place among `added`
    removed: tuple[str, ...]


def learn(
    bank: Bank,
    trajectory: Trajectory,
    used: Sequence[str],
    growth: Growth,
    write: Write | None = None,
    rewrite: Rewrite | None = None,
    episode: str | None = None,
) -> Learned:
    """Let a live bank learn from one game, in one commit.

    used: ids of the memories that were in its prompt, the nearest first. `write` makes a script of a game as in
    `memory_of`; `rewrite` makes a better script of the nearest memory and the game that it
    failed in, blank to leave it. `episode`: an id under which the bank learns from this game once, however often it is
    told.
    Raises UsageError for a sealed bank, an unknown policy, or `adjustment` without `rewrite`.
    """
    if growth.policy not in POLICIES:
        raise UsageError(f"There is no growth {growth.policy!r}.", f"Choose one of {', '.join(POLICIES)}.")
    if growth.policy == ADJUSTMENT and rewrite is None:
        raise UsageError("Adjustment needs a model that rewrites memories.", "Name one, or choose validation.")
    if episode is not None and bank.learnt(episode):
        return Learned((), (), ())
    kept = trajectory.steps and (trajectory.won or growth.policy == VANILLA)
    new = [memory_of(trajectory, write, bank.by, bank.facts)] if kept else []
    old = list[str]()
    if growth.policy == ADJUSTMENT and not trajectory.won and used and rewrite is not None:
        better = _better(bank, used[0], trajectory, rewrite)
        if better is not None:
            new.append(better)
            old.append(used[0])
    added, gone = bank.change(
        add=new,
        forget=old,
        used=used,
        won=trajectory.won,
        prune=(growth.prune_after, growth.prune_below),
        episode=episode,
    )
    rewritten = tuple(id_ for id_ in old if id_ in gone)
    return Learned(tuple(added), rewritten, tuple(id_ for id_ in gone if id_ not in old))


def _better(bank: Bank, id_: str, trajectory: Trajectory, rewrite: Rewrite) -> Memory | None:
    found = bank.find(id_)
    if found is None:
        return None
    script = rewrite(found, trajectory).strip()
    if not script or script == found.script:
        return None
    return replace(found, script=script, uses=0, wins=0, strength=1)
