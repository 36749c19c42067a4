"""`duomem-mlx teach`: a teacher plays, and what it won is kept."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import options, output, wiring

if TYPE_CHECKING:
    from duomem_mlx.environment import Environment, Teacher

SEARCH, REMOTE = "search", "remote"

TeacherName = Annotated[
    str, typer.Option("--teacher", metavar="search", help="Who plays: the environment's own searcher.")
]


def teach(
    games: options.Games = "train",
    games_dir: options.GamesDir = None,
    engine: options.Engine = "fast",
    env: options.Env = "household",
    teacher: TeacherName = SEARCH,
    limit: options.Limit = None,
    max_steps: options.MaxSteps = 30,
    seed: options.Seed = 0,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Let a teacher play games and keep the trajectories of those it wins.

    Writes trajectories.jsonl, failures.jsonl (attempts that were not won) and summary.json. The same command again
    goes on where it stopped.
    """
    from duomem_mlx.environment import ordered
    from duomem_mlx.errors import DuomemError
    from duomem_mlx.paths import claim_run, write_json
    from duomem_mlx.teachers.attempts import NOT_WON, WON, attempts_in, summary_of
    from duomem_mlx.teachers.record import attempt
    from duomem_mlx.trajectory import measures

    started = time.perf_counter()
    environment = wiring.open_environment(env, games_dir, engine)
    player = teacher_named(teacher, environment)
    tasks = ordered(environment, games, limit)
    settings = {
        "env": env,
        "engine": engine,
        "games": games,
        "teacher": teacher,
        "limit": limit,
        "max_steps": max_steps,
        "seed": seed,
    }
    folder = claim_run(out, "teach", settings, (WON, NOT_WON, "summary.json"), overwrite)
    with attempts_in(folder) as attempts, output.progress("Teaching", len(tasks)) as advance:
        left = [task for task in tasks if task not in attempts.done]
        if len(left) < len(tasks):
            output.say(f"{len(tasks) - len(left)} of {len(tasks)} games were played before; going on.")
        won = sum(outcome.won for outcome in attempts.done.values())
        for number, task in enumerate(left, len(tasks) - len(left) + 1):
            trajectory = attempt(environment, task, player, {"kind": teacher}, max_steps)
            attempts.add(trajectory)
            won += trajectory.won
            advance(number, f"{won} won")
    summary = summary_of([attempts.done[task] for task in tasks])
    write_json(folder / "summary.json", {"format": 1, **summary})
    if not summary["won"]:
        raise DuomemError(
            f"None of {summary['games']} games was won in {max_steps} steps.",
            f"Look at one with `duomem-mlx trajectories show {folder / 'failures.jsonl'}`.",
        )
    seconds = round(time.perf_counter() - started, 1)
    if json:
        output.result({**summary, "seconds": seconds, "trajectories": str(folder / WON)})
        return
    _print(summary, seconds, folder)
    if any(measures(attempts.done[task].split) for task in tasks):
        output.hint(f"duomem-mlx trajectories stats {folder}   (these games are for evaluation: do not train on them)")
    else:
        output.hint(f"duomem-mlx memories build {folder}   or   duomem-mlx train {folder}")


def teacher_named(name: str, environment: "Environment") -> "Teacher":
    """Who plays. Raises UsageError when there is no such teacher, or the environment has none of its own."""
    from duomem_mlx.environment import teacher_of
    from duomem_mlx.errors import UsageError

    if name == SEARCH:
        return teacher_of(environment)
    if name == REMOTE:
        raise UsageError("The remote teacher is not in this version yet.", "Use --teacher search.")
    raise UsageError(f"There is no teacher {name!r}.", "Use --teacher search.")


def _print(summary: dict[str, Any], seconds: float, folder: Path) -> None:
    rows = [(kind, counts) for kind, counts in summary["by_type"].items()]
    if len(rows) != 1:
        rows.append(("all", summary))
    output.table(
        ("task type", "won", "games", "success", "steps"),
        [
            (
                kind or "–",
                str(counts["won"]),
                str(counts["games"]),
                f"{counts['success']:.1%}",
                "n/a" if counts["steps_mean_won"] is None else f"{counts['steps_mean_won']:.2f}",
            )
            for kind, counts in rows
        ],
    )
    for lost in summary["not_won"][:5]:
        output.say(f"Not won: {lost['task']} ({lost['game']}, {lost['steps']} steps)")
    if len(summary["not_won"]) > 5:
        output.say(f"… and {len(summary['not_won']) - 5} more, all in {folder / 'summary.json'}.")
    output.say(f"{summary['won']} trajectories in {folder} after {seconds} s.")
