"""The main job in a few minutes: the same tasks once without and once with DuoMem."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duomem_mlx.environment import Environment
    from duomem_mlx.memory.bank import Hit
    from duomem_mlx.student.agent import Agent
    from duomem_mlx.student.episodes import Turn

WITHOUT, WITH = "base", "duomem"


@dataclass(frozen=True)
class GameBegun:
    arm: str
    task: str
    opening: str
    hits: "Sequence[Hit]"


@dataclass(frozen=True)
class GameOver:
    """One row of the table at the end."""

    arm: str
    task: str
    won: bool
    steps: int
    seconds: float
    tokens: int


def play_both(
    environment: "Environment", without: "Agent", with_duomem: "Agent", games: Sequence[str], max_steps: int
) -> "Iterator[GameBegun | Turn | GameOver]":
    """Play every game in both arms and tell what happens as it happens."""
    for task_id in games:
        for arm, agent in ((WITHOUT, without), (WITH, with_duomem)):
            game = environment.open(task_id)
            hits = agent.recall(game)
            yield GameBegun(arm, game.task, game.reset(), hits)
            steps, seconds, tokens, end = 0, 0.0, 0, None
            for turn in agent.play(game, max_steps, hits):
                steps, seconds, end = steps + 1, seconds + turn.seconds, turn.end
                tokens += turn.tokens_new + turn.tokens_out
                yield turn
            yield GameOver(arm, game.task, end == "won", steps, seconds, tokens)
