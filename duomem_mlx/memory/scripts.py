"""From a trajectory to a memory: the prose that says how it was done, and the actions themselves."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from duomem_mlx.environment import stratified
from duomem_mlx.memory.record import Memory, Source
from duomem_mlx.trajectory import Trajectory

Write = Callable[[Trajectory], str]

_INSTANCE = re.compile(r"(?<=[^\W\d]) \d+\b(?!\.\d)")  # the number in "sofa 1"


def memory_of(trajectory: Trajectory, write: Write | None = None) -> Memory:
    """The memory of a trajectory; `write` makes the script, `plain_script` where there is none."""
    teacher = trajectory.teacher
    return Memory(
        task=trajectory.task,
        script=(write or plain_script)(trajectory).strip(),
        steps=trajectory.actions,
        source=Source(
            environment=trajectory.environment,
            game=trajectory.game,
            split=trajectory.split,
            teacher=str(teacher.get("model") or teacher.get("kind") or "unknown"),
            trajectory=trajectory.id,
            won=trajectory.won,
        ),
        created=trajectory.created,
    )


def plain_script(trajectory: Trajectory) -> str:
    """The actions in a row, without the numbers that tell one sofa from another; what is done twice in a row is said
    once."""
    said = list[str]()
    for action in trajectory.actions:
        general = _INSTANCE.sub("", " ".join(action.split()))
        if not said or said[-1] != general:
            said.append(general)
    return "; ".join(said) + "." if said else ""


def chosen(trajectories: Iterable[Trajectory], per_task: int | None, limit: int | None) -> list[Trajectory]:
    """The trajectories to make memories of: won, the shortest `per_task` of one task sentence, the first `limit` in
    the order that keeps every kind in its proportion. In the order of their ids."""
    won = {trajectory.id: trajectory for trajectory in trajectories if trajectory.won}
    kept = sorted(won.values(), key=lambda t: (len(t.steps), t.id))
    if per_task is not None:
        by_task: dict[str, list[Trajectory]] = defaultdict(list)
        for trajectory in kept:
            by_task[trajectory.task].append(trajectory)
        kept = [trajectory for group in by_task.values() for trajectory in group[:per_task]]
    if limit is not None:
        first = set(stratified((trajectory.id, trajectory.kind) for trajectory in kept)[:limit])
        kept = [trajectory for trajectory in kept if trajectory.id in first]
    return sorted(kept, key=lambda t: t.id)
