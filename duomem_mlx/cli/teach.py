"""`duomem-mlx teach`: a teacher plays, and what it won is kept."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import machine, options, output, remote, wiring
from duomem_mlx.environment import OWN_TEACHER

if TYPE_CHECKING:
    from duomem_mlx.environment import Environment
    from duomem_mlx.teachers.course import Play

SEARCH, GOLD = OWN_TEACHER, "gold"
REMOTE_ONLY = ("plan", "model", "batch_size", "temp", "max_tokens", "keep_thoughts", "max_total_tokens", "max_hours")
ATTEMPTS = 5  # at a game, for each solution that is wanted
GOLD_ATTEMPTS = 2

TeacherName = Annotated[
    str,
    typer.Option(
        "--teacher",
        metavar="search|gold|remote",
        help="Who plays: the environment's own searcher, the solutions that came with its games, or a model behind an "
        "endpoint of OpenAI's kind.",
    ),
]
RemoteModelName = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="remote: what the endpoint calls its model.")
]
MostAttempts = Annotated[
    int | None,
    typer.Option(
        "--attempts",
        min=1,
        metavar="N",
        help="Attempts at a game, at most [default: 5 for each solution; search without stumbles: 1 for one; gold: 2].",
    ),
]
Solutions = Annotated[
    int, typer.Option("--solutions", min=1, metavar="N", help="Different ways of winning to keep of each game.")
]
Stumbles = Annotated[
    float,
    typer.Option(
        "--stumbles",
        min=0,
        max=0.9,
        metavar="P",
        help="search: about the share of its turns in which it does something else than it would, so that `train` "
        "learns what to do after a mistake; of a mistake only what would have been right is trained.",
    ),
]
Width = Annotated[int, typer.Option("--batch-size", min=1, metavar="N", help="remote: games played at once.")]
AnswerTokens = Annotated[
    int, typer.Option("--max-tokens", min=1, metavar="N", help="remote: tokens an answer, thoughts included.")
]
Temperatures = Annotated[
    str,
    typer.Option(
        "--temp",
        metavar="T,…",
        help="remote: temperature of each attempt, the last one of all further; none leaves it to the endpoint.",
    ),
]
Thoughts = Annotated[
    bool, typer.Option("--keep-thoughts", help="remote: keep a thinking model's thoughts in the trajectories.")
]
MaxTotalTokens = Annotated[
    int | None, typer.Option("--max-total-tokens", min=1, metavar="N", help="remote: stop after so many tokens.")
]
MaxHours = Annotated[
    float | None, typer.Option("--max-hours", min=0, metavar="H", help="remote: stop this call after so long.")
]
Plan = Annotated[
    bool, typer.Option("--plan", help="remote: play three games, say what the rest takes in hours and money, and stop.")
]


def teach(
    context: typer.Context,
    games: options.TaughtGames = None,
    games_dir: options.GamesDir = None,
    engine: options.Engine = "fast",
    env: options.Env = options.WORLD,
    teacher: TeacherName = SEARCH,
    limit: options.Limit = None,
    attempts: MostAttempts = None,
    solutions: Solutions = 1,
    stumbles: Stumbles = 0.0,
    max_steps: options.MaxSteps = None,
    base_url: options.BaseUrl = None,
    model: RemoteModelName = None,
    api_key_env: options.KeyVariable = None,
    batch_size: Width = 8,
    temp: Temperatures = "0,0.7",
    max_tokens: AnswerTokens = 4096,
    keep_thoughts: Thoughts = False,
    price_in: options.PriceIn = 0.0,
    price_out: options.PriceOut = 0.0,
    max_cost: options.MaxCost = None,
    max_total_tokens: MaxTotalTokens = None,
    max_hours: MaxHours = None,
    plan: Plan = False,
    allow_side_effects: options.SideEffects = False,
    keep_awake: machine.KeepAwake = False,
    seed: options.Seed = 0,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Let a teacher play games and keep the trajectories of those it wins.

    Writes trajectories.jsonl (every way in which a game was won), failures.jsonl, repeats.jsonl (won the same way
    again) and summary.json; a remote teacher's answers are in answers.jsonl before they are used. The same command
    again goes on where it stopped, and pays for no answer twice.
    """
    from duomem_mlx.defaults import defaults_of, taught_on
    from duomem_mlx.environment import ordered
    from duomem_mlx.errors import DuomemError, UsageError
    from duomem_mlx.offers import solutions_of
    from duomem_mlx.own_teacher import teacher_of
    from duomem_mlx.paths import run_folder, write_json
    from duomem_mlx.teachers.attempts import AGAIN, NOT_WON, WON, attempts_in, summary_of
    from duomem_mlx.teachers.budget import Limits
    from duomem_mlx.teachers.course import Rules, play_in_turn
    from duomem_mlx.teachers.journal import JOURNAL
    from duomem_mlx.trajectory import measures

    started = time.perf_counter()
    machine.keep_awake(keep_awake)
    environment = wiring.open_environment(env, games_dir, engine)
    wiring.may_play(environment, allow_side_effects)
    far: remote.RemoteOptions | None = None
    if teacher == remote.REMOTE:
        limits = Limits(price_in, price_out, max_cost, max_total_tokens, max_hours)
        far = remote.chosen(base_url, model, max_tokens, api_key_env, limits, temp, keep_thoughts, batch_size)
    elif teacher not in (SEARCH, GOLD):
        raise UsageError(f"There is no teacher {teacher!r}.", "Use --teacher search, gold or remote.")
    else:
        remote.refuse_its_options(context, "Add --teacher remote, or leave that out.", *REMOTE_ONLY)
    if stumbles and teacher != SEARCH:
        raise UsageError(f"The teacher {teacher!r} is not made to stumble.", "Leave out --stumbles or --teacher.")
    usual = {SEARCH: 1, GOLD: GOLD_ATTEMPTS}.get(teacher) if solutions == 1 and not stumbles else None
    most = attempts or usual or ATTEMPTS * solutions
    if teacher == SEARCH:
        teacher_of(environment, seed if max(most, solutions) > 1 and not stumbles else None)
    elif teacher == GOLD:
        solutions_of(environment)
    rules = Rules(most, solutions)
    games, max_steps = games or taught_on(environment), max_steps or defaults_of(environment).max_steps
    tasks = ordered(environment, games, limit)
    settings = {
        "env": env,
        "engine": engine,
        "games": games,
        "teacher": teacher,
        "limit": limit,
        "attempts": rules.attempts,
        "solutions": solutions,
        "max_steps": max_steps,
        "seed": seed,
        **({"stumbles": stumbles} if stumbles else {}),
        **(far.settings() if far else {}),
    }
    outputs = (WON, AGAIN, NOT_WON, JOURNAL, "summary.json")
    run_in = replace(run_folder(out, "teach", settings, outputs, overwrite), notes=machine.notes())
    if far is not None and run_in.anew:
        remote.reach(far.endpoint.base_url)
    run_in.claim()
    folder = run_in.path
    played: remote.Played | None = None
    with attempts_in(folder) as kept, output.progress("Teaching", len(tasks)) as advance:
        if before := sum(rules.done(kept.done.get(task, ())) for task in tasks):
            output.say(f"{before} of {len(tasks)} games were played before; going on.")
        if far is not None:
            played = remote.play(far, environment, tasks, folder, kept, rules, max_steps, advance, plan)
        else:
            if stumbles:
                play = stumbler(environment, seed, max_steps, stumbles)
            else:
                play = (searcher if teacher == SEARCH else gold)(environment, seed, max_steps)
            play_in_turn(tasks, kept, rules, play, lambda done: advance(done, f"{len(kept.won)} won"))
    used = played.record() if played else {}
    seconds = round(time.perf_counter() - started, 1)
    if plan and played:
        remote.show_plan(played, seconds, json)
        return
    summary = summary_of([kept.done[task] for task in tasks if task in kept.done])
    write_json(folder / "summary.json", {"format": 1, **summary, **used})
    if played:
        remote.tell(played, left=sum(not rules.done(kept.done.get(task, ())) for task in tasks))
    if played and not summary["games"]:
        raise DuomemError(*played.nothing_came())
    if not summary["won"]:
        raise DuomemError(
            f"None of {summary['games']} games was won in {max_steps} steps.",
            f"Look at one with `{output.call('trajectories', 'show', folder / NOT_WON)}`.",
        )
    if json:
        output.result({**summary, **used, "seconds": seconds, "trajectories": str(folder / WON)})
        return
    _print(summary, seconds, folder)
    if any(measures(kept.done[task][0].split) for task in tasks if task in kept.done):
        looked = output.call("trajectories", "stats", folder)
        output.hint(f"{looked}   (these games are for evaluation: do not train on them)")
    else:
        world = wiring.world_named(env)
        build, train = output.call("memories", "build", folder, named=world), output.call("train", folder, named=world)
        output.hint(train if stumbles else f"{build}   or   {train}")


def searcher(environment: "Environment", seed: int, max_steps: int) -> "Play":
    """The environment's own teacher: its usual way at the first attempt, other ways at all further ones."""
    from duomem_mlx.own_teacher import teacher_of
    from duomem_mlx.paths import digest
    from duomem_mlx.teachers.record import attempt
    from duomem_mlx.trajectory import Trajectory

    def play(game: str, number: int) -> Trajectory:
        way = None if number == 1 else int(digest([seed, game, number])[:12], 16)
        return attempt(environment, game, teacher_of(environment, way), {"kind": SEARCH}, max_steps)

    return play


def stumbler(environment: "Environment", seed: int, max_steps: int, share: float) -> "Play":
    """The environment's own teacher on its usual way, jogged off it in a `share` of its turns, elsewhere at every
    attempt."""
    from duomem_mlx.own_teacher import teacher_of
    from duomem_mlx.paths import digest
    from duomem_mlx.teachers.record import attempt
    from duomem_mlx.teachers.stumbling import StumblingTeacher
    from duomem_mlx.trajectory import Trajectory

    def play(game: str, number: int) -> Trajectory:
        straight = attempt(environment, game, teacher_of(environment), {}, max_steps)
        draw = int(digest([seed, game, number])[:12], 16)
        stumbling = StumblingTeacher(teacher_of(environment), share, straight.actions, draw)
        return attempt(environment, game, stumbling, {"kind": SEARCH, "stumbles": share}, max_steps)

    return play


def gold(environment: "Environment", seed: int, max_steps: int) -> "Play":
    """The solutions that came with a game, the n-th at the n-th attempt, played to see whether they win."""
    from duomem_mlx.offers import solutions_of
    from duomem_mlx.own_teacher import guarded_teacher
    from duomem_mlx.teachers.record import attempt
    from duomem_mlx.teachers.scripted import ScriptedTeacher
    from duomem_mlx.trajectory import Trajectory

    known = solutions_of(environment)

    def play(game: str, number: int) -> Trajectory:
        def solving() -> ScriptedTeacher:
            ways = known(game)
            return ScriptedTeacher(ways[min(number, len(ways)) - 1])

        # Asked before the game is opened: it may take the one simulator that a world has.
        return attempt(environment, game, guarded_teacher(solving), {"kind": GOLD}, max_steps)

    return play


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
    output.say(f"{summary['solutions']} trajectories in {folder} after {seconds} s.")
