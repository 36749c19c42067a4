"""From a trajectory to a memory: the prose that says how it was done, and the actions themselves."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from duomem_mlx.environment import stratified
from duomem_mlx.errors import UsageError
from duomem_mlx.memory.keys import TASK, Facts, key_of
from duomem_mlx.memory.record import Memory, Source
from duomem_mlx.prompt import unchanged
from duomem_mlx.trajectory import Trajectory

Write = Callable[[Trajectory], str]

SCRIPT, TRAJECTORY, BOTH = FORMS = ("script", "trajectory", "both")


def memory_of(trajectory: Trajectory, write: Write | None = None, by: str = TASK, facts: Facts | None = None) -> Memory:
    """The memory of a trajectory; `write` makes the script, `plain_script` where there is none. `by` and `facts` as in
    `key_of`."""
    return Memory(
        task=trajectory.task,
        script=(write or plain_script)(trajectory).strip(),
        steps=trajectory.actions,
        source=Source(
            environment=trajectory.environment,
            game=trajectory.game,
            split=trajectory.split,
            teacher=trajectory.taught_by,
            trajectory=trajectory.id,
            won=trajectory.won,
        ),
        key=key_of(by, trajectory.task, trajectory.opening, facts),
        created=trajectory.created,
    )


def plain_script(trajectory: Trajectory, general: Callable[[str], str] = unchanged) -> str:
    """The actions in a row, each on one line and in the terms that `general`, the world's own, puts it in; what is
    then done twice in a row is said once."""
    said = list[str]()
    for action in trajectory.actions:
        said_generally = general(" ".join(action.split()))
        if not said or said[-1] != said_generally:
            said.append(said_generally)
    return "; ".join(said) + "." if said else ""


def in_form(write: Write | None, form: str) -> Write:
    """The three forms of a memory's prose in MemP (arXiv 2508.06433): the script, the trajectory's own actions, or
    both. Raises UsageError for another."""
    script = write or plain_script

    def actions(trajectory: Trajectory) -> str:
        return "; ".join(" ".join(action.split()) for action in trajectory.actions) + "."

    def both(trajectory: Trajectory) -> str:
        return f"{script(trajectory).strip()}\nFor example: {actions(trajectory)}"

    forms: dict[str, Write] = {SCRIPT: script, TRAJECTORY: actions, BOTH: both}
    if form not in forms:
        raise UsageError(f"There is no form {form!r} of a memory.", f"Choose one of {', '.join(FORMS)}.")
    return forms[form]


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
