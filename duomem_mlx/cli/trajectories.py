"""`duomem-mlx trajectories`: looking at what was recorded, and taking over what others recorded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import options, output, training, wiring

if TYPE_CHECKING:
    from duomem_mlx.trajectory import Trajectory

MADE = ("trajectories.jsonl", "summary.json")  # by `import`

app = typer.Typer(no_args_is_help=True, help="Look at recorded games, and import those of others.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A .jsonl file, or a folder that teach wrote.")]
Foreign = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="JSON, JSON Lines or text with trajectories of others.")
]
Searched = Annotated[
    str | None,
    typer.Option("--games", metavar="SPEC", help="Where to search the games that the records name by their text only."),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="messages|sharegpt|react|tagged", help="How they are written [default: found out]."
    ),
]
Unchecked = Annotated[
    bool, typer.Option("--unchecked", help="Keep also those whose game is not at hand, as they were told.")
]
Won = Annotated[
    list[str] | None,
    typer.Option(
        "--won", metavar="ID|all", help="Of runs with tools: which were won, again for more [default: as they say]."
    ),
]
Trained = Annotated[
    bool, typer.Option("--trained", help="As a student is trained on it, what it learns to say between ⟦ and ⟧.")
]
Which = Annotated[str, typer.Argument(metavar="NUMBER|ID", help="Which one: its number in the list, or its id.")]


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
    output.hint(output.call("trajectories", "show", file, 1))


@app.command()
def show(
    file: File,
    which: Which = "1",
    trained: Trained = False,
    env: options.Env = options.WORLD,
    model: options.Model = None,
    prompt_style: options.PromptStyle = None,
    json: options.Json = False,
) -> None:
    """One trajectory as it was played, or as a student is trained on it."""
    from duomem_mlx.trajectory import to_record

    trajectory = _find(file, which)
    if trained:
        _show_trained(trajectory, env, model, prompt_style, json)
        return
    if json:
        output.result(to_record(trajectory))
        return
    output.line(f"{trajectory.id}  {trajectory.game}")
    output.line(f"{_verdict(trajectory)} after {len(trajectory.steps)} steps, {trajectory.kind or 'no kind'}\n")
    output.line(trajectory.opening.strip())
    for step in trajectory.steps:
        if step.thought:
            output.line(f"\n({step.thought})")
        wanted = "" if step.wanted is None else f"   (the teacher: {step.wanted})"
        output.line(f"\n> {step.action}{wanted}\n{step.observation.strip()}")


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
        ("kind", *columns[:4], "steps", "median", "most"),
        [
            (kind or "–", *(f"{c[name]:.1%}" if name == "success" else str(c[name]) for name in columns))
            for kind, c in rows
        ],
    )


@app.command("import")
def import_(
    files: Foreign,
    games: Searched = None,
    games_dir: options.GamesDir = None,
    engine: options.Engine = "fast",
    env: options.Env = options.WORLD,
    form: Format = None,
    unchecked: Unchecked = False,
    won: Won = None,
    allow_side_effects: options.SideEffects = False,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Play trajectories of others again and keep those that win.

    A game is known by the id or path in its record, else searched among --games by task and opening. With --env tools
    they are runs of an agent with tools, as `serve --record` keeps them: nothing is played again, --won says which were
    won. Writes trajectories.jsonl and summary.json.
    """
    import json as jsons

    from duomem_mlx.environment import ordered
    from duomem_mlx.errors import DuomemError, UsageError
    from duomem_mlx.paths import claim_run, write_json, write_text
    from duomem_mlx.teachers.imports import NO_GAME, GamesAtHand, import_transcripts
    from duomem_mlx.teachers.tool_runs import NO_VERDICT, import_runs
    from duomem_mlx.teachers.transcripts import OURS
    from duomem_mlx.tools import runs
    from duomem_mlx.trajectory import to_record

    environment = wiring.open_environment(env, games_dir, engine)
    wiring.may_play(environment, allow_side_effects)
    with_tools = environment.name == runs.NAME
    if with_tools and (games or form or unchecked):
        raise UsageError("Runs with tools are not played again.", "Say which were won with --won, and nothing else.")
    if won and not with_tools:
        raise UsageError("--won is for runs with tools.", "Add --env tools, or leave it out.")
    tasks = ordered(environment, games) if games else []
    with output.progress("Importing", None) as advance:
        if with_tools:
            found = import_runs(files, won or ())
        else:
            at_hand = GamesAtHand(environment, tasks, lambda done: advance(done, f"of {len(tasks)} games looked at"))
            found = import_transcripts(
                files, at_hand, form, unchecked, lambda came_in, kept: advance(came_in, f"came in, {kept} kept")
            )
    reasons = "; ".join(f"{count} times: {reason}" for reason, count in found.left_out.items())
    if not found.trajectories:
        fix = "Check the files, or --format."
        if NO_GAME in found.left_out:
            fix = "Name where to search them with --games."
        elif NO_VERDICT in found.left_out:
            fix = "Say which were won: --won ID, --won all, or `won` in the records."
        elif OURS in found.left_out:
            fix = "Give the file to `duomem-mlx train` or `memories build` as it is."
        raise DuomemError(f"None of {found.came_in} trajectories was kept ({reasons or 'there are none'}).", fix)
    settings = {"env": env, "files": [str(file) for file in files], "games": games, "format": form}
    settings |= {"won": won} if won else {}
    folder = claim_run(out, "import", {**settings, "unchecked": unchecked}, MADE, overwrite)
    lines = (jsons.dumps(to_record(one), ensure_ascii=False) + "\n" for one in found.trajectories)
    write_text(folder / "trajectories.jsonl", "".join(lines))
    summary = {
        "came_in": found.came_in,
        "kept": len(found.trajectories),
        **({} if with_tools else {"replayed": sum(bool(one.teacher["replayed"]) for one in found.trajectories)}),
        "left_out": dict(found.left_out),
    }
    write_json(folder / "summary.json", {"format": 1, **summary})
    if json:
        output.result({**summary, "trajectories": str(folder / "trajectories.jsonl")})
        return
    checked = (
        f"{sum(t.won for t in found.trajectories)} of them won"
        if with_tools
        else f"{summary['replayed']} of them replayed"
    )
    output.line(f"{summary['kept']} of {summary['came_in']} trajectories kept, {checked}.")
    for reason, count in found.left_out.items():
        output.line(f"{count:6}  {reason}")
    train = output.call("train", folder, named=wiring.world_named(env))
    output.hint(f"{output.call('trajectories', 'stats', folder)}   or   {train}")


def _show_trained(trajectory: "Trajectory", env: str, model: str | None, style: str | None, json: bool) -> None:
    """The rows of `train --show-rows`, without memories; of the student its tokenizer alone is loaded."""
    from duomem_mlx import prompt
    from duomem_mlx.errors import UsageError
    from duomem_mlx.models_on_disk import STUDENT
    from duomem_mlx.offers import refused_by, shorten_of
    from duomem_mlx.student.models import load_tokenizer
    from duomem_mlx.student.serve.prompts import ChatPrompts
    from duomem_mlx.student.transcript import make_writer
    from duomem_mlx.training.rows import make_epoch
    from duomem_mlx.training.settings import TrainSettings
    from duomem_mlx.training.talks import make_talks

    environment = wiring.open_environment(env, None, "fast")
    if trajectory.environment != environment.name:
        raise UsageError(
            f"This trajectory is of {trajectory.environment}, not of {environment.name}.", "Name its world with --env."
        )
    tokenizer = load_tokenizer(model)
    longest = TrainSettings().max_seq_length
    if trajectory.request is not None:
        talk = make_talks([trajectory], ChatPrompts.of(tokenizer), max_tokens=longest)
        training.show(talk.rows, tokenizer.decode, {"id": trajectory.id, "prompt_style": prompt.CHAT} if json else None)
        return
    chosen = style or (prompt.COMPACT if model in (None, STUDENT) else prompt.CHAT)
    writer = make_writer(tokenizer, chosen, environment.instructions, shorten_of(environment))
    epoch = make_epoch([trajectory], writer, max_tokens=longest, refused=refused_by(environment))
    training.show(epoch.rows, tokenizer.decode, {"id": trajectory.id, "prompt_style": chosen} if json else None)


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
