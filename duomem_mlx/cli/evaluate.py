"""`duomem-mlx evaluate`: the same games in several arms."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from duomem_mlx.cli import machine, options, output, seeds, wiring, writers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duomem_mlx.evaluation.arms import Arm
    from duomem_mlx.student.agent import Agent

Arms = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        metavar="NAME",
        help="base, own-memories, memories, random-memories, adapter, adapter-own-memories or duomem; repeatable "
        "[default: all but random-memories, those of own memories where --own-memories names some].",
    ),
]
OwnMemories = Annotated[
    str | None,
    typer.Option(
        "--own-memories",
        metavar="ID",
        help="A bank of the student's own successes: `memories build RESULTS/episodes/base` of training games.",
    ),
]
Ks = Annotated[
    str | None,
    typer.Option(
        "--k",
        metavar="N,…",
        help="Memories in the prompt; the first names the arm, others stand beside it "
        "[default: the adapter's own number, else 4].",
    ),
]
Width = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, metavar="N", help="Games played together [default: by --ram, 16 at most]."),
]


def evaluate(
    context: typer.Context,
    games: options.MeasuredGames = None,
    games_dir: options.GamesDir = None,
    engine: options.Engine = "fast",
    env: options.Env = options.WORLD,
    limit: options.Limit = None,
    arm: Arms = None,
    model: options.Model = None,
    adapter: seeds.Adapters = None,
    memories: options.Memories = None,
    own_memories: OwnMemories = None,
    k: Ks = None,
    max_steps: options.MaxSteps = None,
    prompt_style: options.PromptStyle = None,
    max_tokens: options.MaxTokens = None,
    temp: options.Temp = 0.0,
    top_p: options.TopP = 1.0,
    avoid_refused: options.AvoidRefused = False,
    actions: options.Actions = "free",
    learn: options.Learn = None,
    batch_size: Width = None,
    ram: options.Ram = None,
    allow_side_effects: options.SideEffects = False,
    keep_awake: machine.KeepAwake = False,
    seed: options.Seed = 0,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Play the same games with and without each axis; every episode goes to disk as it ends.

    The same command again goes on where it stopped. Results: config.json, episodes/ARM/SEED/GAME.json, summary.json.
    With --learn every arm that recalls from a bank plays one game at a time and has a copy of its own that grows,
    banks/ARM/SEED; the bank that was named stays as it is. Aids to decoding (--avoid-refused, --actions) are off
    unless asked for, and summary.json names them.
    """
    wiring.one_thread_a_product()
    machine.keep_awake(keep_awake)
    from duomem_mlx import __version__
    from duomem_mlx.defaults import defaults_of, measured_on
    from duomem_mlx.environment import ordered
    from duomem_mlx.errors import DuomemError, UsageError
    from duomem_mlx.evaluation.arms import DEFAULT_ARMS, OWN_ARMS, arm_named
    from duomem_mlx.evaluation.results import table_columns, table_rows
    from duomem_mlx.evaluation.runner import OTHER_OPENING, Run, jobs_of
    from duomem_mlx.evaluation.runner import evaluate as play_all
    from duomem_mlx.paths import digest, run_folder
    from duomem_mlx.student.adapters import usual_k
    from duomem_mlx.student.decoding import Decoding
    from duomem_mlx.student.episodes import PlaySettings
    from duomem_mlx.student.machine import machine_record

    usual = (*DEFAULT_ARMS, *OWN_ARMS) if own_memories is not None else DEFAULT_ARMS
    arms = [arm_named(name) for name in dict.fromkeys(arm or usual)]
    environment = wiring.open_environment(env, games_dir, engine)
    wiring.may_play(environment, allow_side_effects)
    games, max_steps = games or measured_on(environment), max_steps or defaults_of(environment).max_steps
    tasks = ordered(environment, games, limit)
    folder, by_seed = seeds.adapters_of(adapter, model, environment)
    ks = parse_ks(str(usual_k(folder)) if k is None else k)
    bank = wiring.open_bank(memories, environment, model)
    own_bank = None if own_memories is None else wiring.open_bank(own_memories, environment, model)
    impossible = impossible_arms(arms, folder is not None, bank is not None, own_bank is not None)
    if arm and impossible:
        name, lacking = next(iter(impossible.items()))
        raise UsageError(
            f"The arm {name} needs {lacking} and there is none.",
            "Name one with --adapter, --memories or --own-memories, or leave the arm out with --arm.",
        )
    if impossible:
        output.say(f"Arms left out: {', '.join(f'{name} (needs {what})' for name, what in impossible.items())}.")
        arms = [a for a in arms if a.name not in impossible]
    if actions == "admissible":
        output.say("Careful: the student is shown what the world would accept; such figures stand apart from others.")
    style = prompt_style or (None if folder is None else wiring.trained_style(folder))
    learning = None if learn is None else writers.learning(environment, learn)
    if learning is not None and not (any(a.memories in ("bank", "own") for a in arms) and max(ks) > 0):
        raise UsageError("No arm here recalls from a bank that could learn.", "Add --arm memories or --arm duomem.")
    decoding = Decoding(temp, top_p, seed, avoid_refused, actions)
    settings = PlaySettings(max_steps=max_steps, max_tokens=max_tokens, decoding=decoding)
    decoded = {} if decoding.plain else {"decoding": asdict(decoding)}
    identity = {**wiring.identities(model, folder, bank), **wiring.own_identity(own_bank), **seeds.identities(by_seed)}
    if own_bank is not None:
        wiring.tell_whose(own_bank, str(identity["model"]))
    config = {
        "env": env,
        "engine": engine,
        "games": games,
        "limit": limit,
        "games_hash": digest(tasks)[:16],
        "k": ks,
        "seed": seed,
        "prompt_style": style,
        "play": {name: value for name, value in asdict(replace(settings, width=1)).items() if name != "decoding"},
        **decoded,
        **identity,
        **({} if learning is None else {"learn": asdict(learning.growth)}),  # and with it: one game after the other
    }
    run_in = run_folder(out, "evaluate", config, ("episodes", "banks", "summary.json"), overwrite)
    takes = machine.footprint_of(model)
    width = machine.games_together(batch_size, ram, run_in.noted(), takes, settings.max_context_tokens)
    settings = replace(settings, width=width)
    run_in = replace(run_in, notes={**machine.notes(), machine.WIDTH: width})
    results = run_in.path
    run = Run(results, environment, tasks, games, bank, ks, seed, settings, learning, own_bank, tuple(by_seed))

    warned: set[str] = set()

    def agent_for(seed: int | None) -> "Agent":
        chosen = None if seed is None else by_seed.get(seed, folder)
        return wiring.agent(environment, model, chosen, bank, ks[0], style, settings, warned)

    if not run_in.begun:  # what cannot be played is told before anything is written or taken away
        agent_for(jobs_of(run, arms)[-1].adapter)
    run_in.claim()
    header = {
        "split": games,
        "max_steps": max_steps,
        "seed": seed,
        **identity,
        "k": ks[0],
        "max_tokens": max_tokens,
        **decoded,
        **({} if learn is None else {"learn": learn}),
        **wiring.teachers(folder, bank),
        "dtype": takes.dtype,
        "bits": takes.bits,
        "model_bytes": takes.weights,
        "batch_size": width,
        "version": __version__,
        "machine": machine_record(),
    }
    packed = f"{takes.bits} bits, " if takes.bits else ""
    output.say(f"{identity['model']}: {packed}{takes.dtype}, {takes.weights / 1e6:.0f} MB; {width} games together.")
    output.say(f"{len(tasks)} games of {games}, arms {', '.join(a.name for a in arms)}; results go to {results}")
    with output.progress("episodes", len(jobs_of(run, arms)) * len(tasks)) as advance:
        summary = play_all(run, arms, agent_for, header, lambda done, total, label: advance(done, label))
    if json:
        output.result(summary)
    else:
        output.table(table_columns(summary), table_rows(summary))
        output.say(f"All of it is in {results}.")
        if learning is not None:
            output.say(f"What the arms learnt is in {results / 'banks'}.")
        first_k = dict.fromkeys(options.given(context, "k"), ks[0])
        one = {"--adapter": adapter[0]} if adapter else {}
        named = {"--games": games, **options.given(context, *options.OF_A_GAME), **one, **first_k, "--number": 1}
        at_hand = options.given(context, "env", "memories", "own_memories") | one
        looked_at = output.call("report", results, named=at_hand)
        output.hint(f"{looked_at}   or   {output.call('run', named=named)}")
    if elsewhere := sum(figures["flags"].get(OTHER_OPENING, 0) for figures in summary["arms"].values()):
        output.say(
            f"Careful: {elsewhere} games did not open as they did in another arm, so the arms did not play the same; "
            f"`{output.call('envs', 'check', env)}` looks into that."
        )
    broken = {
        label: figures["ends"]["environment"]
        for label, figures in summary["arms"].items()
        if "environment" in figures["ends"]
    }
    if broken:
        told = ", ".join(f"{count} in {label}" for label, count in broken.items())
        raise DuomemError(
            f"The environment broke off games ({told}); they count as not won.",
            f"Their last observation in {results}/episodes says why; without these files they are played again.",
        )


def impossible_arms(arms: "Sequence[Arm]", adapter: bool, bank: bool, own_bank: bool) -> dict[str, str]:
    """Arm -> what it needs, of those that lack it."""
    lacking = {}
    for arm in arms:
        if arm.adapter and not adapter:
            lacking[arm.name] = "an adapter"
        elif arm.memories == "own" and not own_bank:
            lacking[arm.name] = "a bank of the student's own"
        elif arm.memories in ("bank", "random") and not bank:
            lacking[arm.name] = "a bank"
    return lacking


def parse_ks(text: str) -> list[int]:
    """Numbers of memories out of `4` or `0,1,2,4,10`. Raises UsageError for anything else."""
    from duomem_mlx.errors import UsageError

    try:
        ks = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        ks = []
    if not ks or min(ks) < 0:
        raise UsageError(f"--k is {text!r}.", "Give one number or several with commas between, such as 0,1,2,4,10.")
    return ks
