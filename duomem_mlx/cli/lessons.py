"""What `train` learns from: the successes in files, what the bank shows beside each, what is held out together."""

from pathlib import Path
from typing import TYPE_CHECKING

from duomem_mlx.cli import output, wiring

if TYPE_CHECKING:
    from duomem_mlx.environment import Environment
    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.training.rows import Examples
    from duomem_mlx.trajectory import Trajectory


def successes(paths: list[Path], environment: "Environment") -> "list[Trajectory]":
    """The trajectories that were won, each once, in the files' order. Raises UsageError when there are none, or when
    they are of another world."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.trajectory import read_trajectories

    read = [trajectory for path in paths for trajectory in read_trajectories(path)]
    won = {trajectory.id: trajectory for trajectory in read if trajectory.won and trajectory.steps}
    if strange := {trajectory.environment for trajectory in read} - {environment.name}:
        raise UsageError(
            f"These trajectories are of {', '.join(sorted(strange))}, not of {environment.name}.",
            "Name their world with --env.",
        )
    if not won:
        raise UsageError(f"None of {len(read)} trajectories was won.", "Make others with `duomem-mlx teach`.")
    if len(won) < len(read):
        output.say(
            f"{len(won)} of {len(read)} trajectories are used: what was not won, has no action, or stands there twice, "
            "is not."
        )
    wiring.tell_what_measures(won.values())
    return list(won.values())


def recalled(bank: "Bank", trajectories: "list[Trajectory]", k: int) -> "Examples":
    """What the bank would show for each game, its own memories left out, looked up in one go."""
    from duomem_mlx.student.agent import examples

    questions = [bank.question(trajectory.task, trajectory.opening) for trajectory in trajectories]
    found = bank.search_many(questions, k, [trajectory.game for trajectory in trajectories])
    shown = {trajectory.id: examples(hits) for trajectory, hits in zip(trajectories, found, strict=True)}
    return lambda trajectory, n: shown[trajectory.id][:n]


def group_of(environment: "Environment", trajectory: "Trajectory") -> str:
    """What is held out together: the games of one place, where the environment knows of places."""
    from duomem_mlx.offers import place_of

    place = place_of(environment)
    return place(trajectory.game) if place else trajectory.game


def digest_of(trajectories: "list[Trajectory]") -> str:
    """Of what was done and taught in them, and of nothing that another call of `teach` would do anew otherwise."""
    from duomem_mlx.paths import digest
    from duomem_mlx.trajectory import to_record

    return digest([{**to_record(t), "seconds": 0, "created": "", "tokens": None} for t in trajectories])
