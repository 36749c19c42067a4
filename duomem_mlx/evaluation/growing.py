"""Arms whose bank learns from the games as they are played.

Every such arm has a bank of its own, that begins as a copy of the one named: what one arm learns is no help to another,
and the one named stays as it is. Games are played one after the other, in the order of the run, so that each meets the
bank that all games before it made, whether the run was stopped in between or not.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import warn

from duomem_mlx.errors import DuomemWarning
from duomem_mlx.evaluation.results import episode_path, read_episode
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.growth import Growth, Learned, Rewrite, learn
from duomem_mlx.memory.scripts import Write
from duomem_mlx.offers import WorldBroke
from duomem_mlx.trajectory import Episode

if TYPE_CHECKING:
    from duomem_mlx.student.agent import Agent

BROKEN_OFF = "environment"


@dataclass(frozen=True)
class Learning:
    """How banks learn: the policy, who writes scripts (None: the actions in a row), and what rewrites them."""

    growth: Growth = field(default_factory=Growth)
    write: Write | None = None
    rewriter: "Callable[[Agent], Rewrite] | None" = None  # needed for `adjustment` alone


def bank_path(folder: Path, label: str, seed: int) -> Path:
    """Where the bank of an arm lies in a results folder."""
    return folder / "banks" / label / str(seed)


@contextmanager
def growing_bank(folder: Path, label: str, seed: int, start: Bank) -> Iterator[Bank]:
    """The bank of an arm; a copy of `start` where it has none yet."""
    path = bank_path(folder, label, seed)
    with Bank.open(path) if path.exists() else start.copy(path) as bank:
        yield bank


def unlearnt(folder: Path, label: str, seed: int, games: Sequence[str], bank: Bank) -> Iterator[tuple[str, Episode]]:
    """Name and content of the episodes on disk that the bank has not learnt from, in the order of `games`: at most
    one, where a run was stopped between the two."""
    for game in games:
        path, name = episode_path(folder, label, seed, game), episode_name(label, seed, game)
        if path.is_file() and not bank.learnt(name):
            yield name, read_episode(path)


def episode_name(label: str, seed: int, game: str) -> str:
    """Under which a bank of this results folder knows an episode."""
    return f"{label}/{seed}/{game}"


def learn_from(episode: Episode, bank: Bank, learning: Learning, agent: "Agent", name: str) -> Learned:
    """Let a bank learn from an episode, once under its name. A game that the environment broke off says nothing of
    the memories that were used in it."""
    if episode.end == BROKEN_OFF:
        bank.change(episode=name)
        return Learned((), (), ())

    def learnt(write: Write | None, rewrite: Rewrite | None) -> Learned:
        used = [str(memory["id"]) for memory in episode.memories]
        return learn(bank, acted(episode), used, learning.growth, write, rewrite, episode=name)

    try:
        return learnt(learning.write, None if learning.rewriter is None else learning.rewriter(agent))
    except WorldBroke as broke:  # its words for what was done; nothing was written yet
        kept = "no memory is rewritten" if not episode.won else "what is kept is its actions in a row"
        warn(f"{broke.what} Of {episode.game} {kept}.", DuomemWarning, stacklevel=2)
        return learnt(None, lambda memory, failed: "")


def acted(episode: Episode) -> Episode:
    """The episode without the answers that held no action: there is nothing in them to do again."""
    return replace(episode, steps=tuple(step for step in episode.steps if step.action))
