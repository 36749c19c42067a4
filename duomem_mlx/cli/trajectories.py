"""`duomem-mlx trajectories`: looking at what was recorded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import options, output

if TYPE_CHECKING:
    from duomem_mlx.trajectory import Trajectory

app = typer.Typer(no_args_is_help=True, help="Look at recorded games: list, show, stats.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A .jsonl file, or a folder that teach wrote.")]
Which = Annotated[str, typer.Argument(metavar="[NUMBER|ID]", help="Which one: its number in the list, or its id.")]


@app.command("list")
def list_(file: File, json: options.Json = False) -> None:
    """One line a trajectory."""
    from duomem_mlx.trajectory import read_trajectories

    found = [(number, t) for number, t in enumerate(read_trajectories(file), 1)]
    if json:
        output.result({"trajectories": [{"number": number, **_line(t)} for number, t in found]})
        return
    rows = [(str(number), t.id, _verdict(t), str(len(t.steps)), t.kind, t.task) for number, t in found]
    output.table(("no", "id", "end", "steps", "kind", "task"), rows)
    output.hint(f"duomem-mlx trajectories show {file} 1")


@app.command()
def show(file: File, which: Which = "1", json: options.Json = False) -> None:
    """One trajectory as it was played."""
    from duomem_mlx.trajectory import to_record

    trajectory = _find(file, which)
    if json:
        output.result(to_record(trajectory))
        return
    output.line(f"{trajectory.id}  {trajectory.game}")
    output.line(f"{_verdict(trajectory)} after {len(trajectory.steps)} steps, {trajectory.kind or 'no kind'}\n")
    output.line(trajectory.opening.strip())
    for step in trajectory.steps:
        if step.thought:
            output.line(f"\n({step.thought})")
        output.line(f"\n> {step.action}\n{step.observation.strip()}")


@app.command()
def stats(file: File, json: options.Json = False) -> None:
    """Counts by kind: success and how many steps it took."""
    from duomem_mlx.trajectory import read_trajectories

    by_kind: dict[str, list[Trajectory]] = {}
    for trajectory in read_trajectories(file):
        by_kind.setdefault(trajectory.kind, []).append(trajectory)
    everything = [trajectory for members in by_kind.values() for trajectory in members]
    counts = {kind: _counts(by_kind[kind]) for kind in sorted(by_kind)}
    total = _counts(everything)
    if json:
        output.result({**total, "by_type": counts})
        return
    rows = [*counts.items()] if len(counts) == 1 else [*counts.items(), ("all", total)]
    columns = ("attempts", "games", "won", "success", "steps_mean", "steps_median", "steps_max")
    output.table(
        ("kind", *columns),
        [
            (kind or "–", *(f"{c[name]:.1%}" if name == "success" else str(c[name]) for name in columns))
            for kind, c in rows
        ],
    )


def _find(file: Path, which: str) -> "Trajectory":
    from duomem_mlx.errors import UsageError
    from duomem_mlx.trajectory import read_trajectories

    count = 0
    for trajectory in read_trajectories(file):
        count += 1
        if which in (str(count), trajectory.id):
            return trajectory
    raise UsageError(
        f"{file} holds {count} trajectories and none is {which!r}.", f"See `duomem-mlx trajectories list {file}`."
    )


def _verdict(trajectory: "Trajectory") -> str:
    return "won" if trajectory.won else f"not won ({trajectory.end})"


def _line(trajectory: "Trajectory") -> dict[str, Any]:
    return {
        "id": trajectory.id,
        "game": trajectory.game,
        "kind": trajectory.kind,
        "task": trajectory.task,
        "won": trajectory.won,
        "end": trajectory.end,
        "steps": len(trajectory.steps),
        "teacher": dict(trajectory.teacher),
    }


def _counts(members: "list[Trajectory]") -> dict[str, Any]:
    from statistics import fmean, median

    steps = [len(trajectory.steps) for trajectory in members]
    won = sum(trajectory.won for trajectory in members)
    return {
        "attempts": len(members),
        "games": len({trajectory.game for trajectory in members}),
        "won": won,
        "success": round(won / len(members), 4),
        "steps_mean": round(fmean(steps), 2),
        "steps_median": float(median(steps)),
        "steps_max": max(steps),
    }
