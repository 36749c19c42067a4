"""`duomem-mlx fuse`: an adapter into its base, for what takes no adapters; or into PEFT's format."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import options, output, wiring

if TYPE_CHECKING:
    from duomem_mlx.evaluation.runner import Run
    from duomem_mlx.student.agent import Agent
    from duomem_mlx.student.fusing import Fused
    from duomem_mlx.trajectory import Episode

Bits = Annotated[
    str | None, typer.Option("--bits", metavar="4|8|none", help="Bits a weight; none: whole [default: as the base].")
]
Check = Annotated[
    int, typer.Option("--check", min=0, metavar="N", help="Play N games before and after, and say what fusing lost.")
]
Export = Annotated[
    str | None, typer.Option("--export", metavar="peft", help="Do not fuse: write the adapter in PEFT's format.")
]
MUCH = 0.5  # rounding that moves weights half as far as the adapter did is told


def fuse(
    model: options.Model = None,
    adapter: options.Adapter = None,
    bits: Bits = None,
    check: Check = 0,
    games: options.ManyGames = None,
    games_dir: options.GamesDir = None,
    env: options.Env = options.WORLD,
    max_steps: options.MaxSteps = None,
    export: Export = None,
    allow_side_effects: options.SideEffects = False,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Fuse an adapter into its base: one model for what takes no adapters, such as LM Studio.

    The folder opens in mlx-lm, and its duomem.json still says what the model learnt. With --check the games are played
    without memories, once with the adapter beside its base and once with what was written; they lie in DIR-check. A
    model that is there already is checked as it is.
    """
    wiring.one_thread_a_product()
    from duomem_mlx.defaults import defaults_of, many_games
    from duomem_mlx.environment import ordered
    from duomem_mlx.errors import UsageError
    from duomem_mlx.evaluation.runner import Run
    from duomem_mlx.models_on_disk import KNOWN, STUDENT, locate
    from duomem_mlx.paths import claim_run, digest, read_json, write_json
    from duomem_mlx.student import adapters
    from duomem_mlx.student.episodes import PlaySettings

    if bits not in (None, "4", "8", "none"):
        raise UsageError(f"--bits is {bits}.", "It is 4, 8 or none.")
    if export not in (None, "peft"):
        raise UsageError(f"--export is {export}.", "It is peft, or is left out.")
    environment = wiring.open_environment(env, games_dir, wiring.FAST)
    if check:
        wiring.may_play(environment, allow_side_effects)
    source = wiring.adapter_path(adapter, model, environment)
    if source is None:
        raise UsageError("There is no adapter to fuse.", "Name one with --adapter.")
    located = locate(model or STUDENT)
    made_of = {
        "adapter": source.name,
        "adapter_hash": adapters.identity(source),
        "model": Path(located.name).name if located.kind == "folder" else located.name,
        "model_hash": located.identity,
        "bits": bits,
        "export": export,
    }
    folder = out or Path("runs") / f"fuse-{digest(made_of)[:8]}"
    if export and (bits or check):
        raise UsageError("--export writes the adapter as it is; nothing is packed or played.", "Leave the rest out.")
    split = (games or many_games(environment)) if check else ""
    max_steps = max_steps or defaults_of(environment).max_steps
    tasks = ordered(environment, split, check) if check else []
    if not free(folder, "fused", "fuse", made_of, overwrite):
        output.say(f"This is done already; it is in {folder}.")
    elif export:
        from duomem_mlx.student.peft import export as export_peft

        known = KNOWN.get(located.name)
        hub = known.hub if known else located.name if located.kind != "folder" else None
        export_peft(source, folder, hub)
        write_json(folder / adapters.RECORD, {"format": 1, **adapters.record(source), "fused": made_of})
    else:
        fuse_into(folder, source, model, bits, made_of)
    if check:
        settings = {**made_of, "env": env, "games_dir": str(games_dir or ""), "max_steps": max_steps}
        results = claim_run(folder.with_name(f"{folder.name}-check"), "fuse", settings, ("episodes",), overwrite)
        run = Run(results, environment, tasks, split, None, [0], 0, PlaySettings(max_steps=max_steps))
        record = read_json(folder / adapters.RECORD, "adapter record")
        record["fused"]["check"] = compared(*played(run, folder, source, model))
        write_json(folder / adapters.RECORD, record)
    figures = read_json(folder / adapters.RECORD, "adapter record")["fused"]
    if json:
        output.result({"path": str(folder), **figures})
        return
    if "check" in figures:
        tell_check(figures["check"])
    elif not export:
        output.say("What fusing lost was not looked at: --check 20 plays twenty games before and after.")
    output.say(f"It is in {folder}.")
    if not export:
        named = {"--model": folder, "--adapter": "none", "--arm": "base", **wiring.world_named(env), "--limit": 20}
        output.hint(output.call("evaluate", named=named))


def free(folder: Path, mark: str, command: str, made_of: dict[str, Any], overwrite: bool) -> bool:
    """Whether there is something to do: False where this very call has done it. What `command` makes has what it was
    made of under `mark` in its duomem.json. Raises UsageError where something else is there that may not be
    replaced."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.student import adapters

    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return True
    found = adapters.record(folder).get(mark) if folder.is_dir() else None
    if not isinstance(found, dict):
        raise UsageError(
            f"{folder} is there and was not made by {command}.", "Choose another --out; it is not overwritten."
        )
    if overwrite:
        return True
    if any(found.get(name) != value for name, value in made_of.items()):
        raise UsageError(
            f"{folder} holds what {command} made of something else, or otherwise.",
            "Choose another --out, or add --overwrite.",
        )
    return False


def fuse_into(folder: Path, source: Path, model: str | None, bits: str | None, made_of: dict[str, Any]) -> None:
    """Fuse and save, saying what rounding does to the weights."""
    from duomem_mlx.student import fusing
    from duomem_mlx.student.models import load_student

    student = load_student(model, source)
    for warning in student.warnings:
        output.say(warning)
    wanted = fusing.bits_of(student.config) if bits is None else None if bits == "none" else int(bits)
    fused = fusing.fuse(student, wanted)
    tell_rounding(fused, made_of["model"])
    figures = {**made_of, "packed": fused.bits, "rounding": round(fused.rounding, 3)}
    fusing.save(fused, folder, {"format": 1, **student.adapter_record, "fused": figures})


def tell_rounding(fused: "Fused", model: str) -> None:
    if fused.rounding < MUCH:
        return
    whole = "--bits none keeps it whole" if fused.bits == 8 else "--bits none keeps it whole, --bits 8 most of it"
    output.say(
        f"Careful: rounding to {fused.bits} bits moves the weights of {model} {fused.rounding:.1f} times as far as the "
        f"adapter did, so that what it taught may be lost. {whole}; --check 20 says what it costs in games."
    )


def played(run: "Run", folder: Path, source: Path, model: str | None) -> "tuple[list[Episode], list[Episode]]":
    """The episodes of the games, without memories: the adapter's beside its base, and those of what is in `folder`.
    What is on disk is not played again."""
    from duomem_mlx.evaluation.arms import ARMS
    from duomem_mlx.evaluation.results import read_episodes
    from duomem_mlx.evaluation.runner import run_arms
    from duomem_mlx.student.agent import Agent, writer_for
    from duomem_mlx.student.models import load_student

    def agent_for(adapter: int | None) -> "Agent":
        student = load_student(str(folder)) if adapter is None else load_student(model, source)
        return Agent(student, writer_for(student, run.environment), run.environment, settings=run.settings)

    before, after = ARMS["adapter"], replace(ARMS["base"], name="fused")
    with output.progress("games", 2 * len(run.games)) as advance:
        run_arms(run, [before, after], agent_for, lambda done, total, label: advance(done, label))
    found = read_episodes(run.folder, run.games)
    return found[before.name][0], found[after.name][0]


def compared(before: "list[Episode]", after: "list[Episode]") -> dict[str, Any]:
    """What fusing lost on the games, in figures."""
    from duomem_mlx.evaluation.statistics import discordant, mcnemar

    first, second = ({episode.game: episode for episode in episodes} for episodes in (before, after))
    lost, gained = discordant(*({game: e.won for game, e in of.items()} for of in (first, second)))
    return {
        "games": len(before),
        **{f"won_{name}": sum(e.won for e in of) for name, of in (("before", before), ("after", after))},
        **{
            f"steps_{name}": sum(len(e.steps) for e in of) / len(of)
            for name, of in (("before", before), ("after", after))
        },
        "lost": lost,
        "gained": gained,
        "p": mcnemar(lost, gained),
        "same_actions": sum(first[game].actions == second[game].actions for game in first),
    }


def tell_check(figures: dict[str, Any]) -> None:
    rows = [
        [name, f"{figures[f'won_{when}']}/{figures['games']}", f"{figures[f'steps_{when}']:.1f}"]
        for name, when in (("adapter beside its base", "before"), ("fused", "after"))
    ]
    output.table(["", "won", "steps"], rows)
    output.say(
        f"Fusing lost {figures['lost']} games and gained {figures['gained']} (exact McNemar p = {figures['p']:.2f}); "
        f"in {figures['same_actions']} of {figures['games']} every action is the same."
    )
