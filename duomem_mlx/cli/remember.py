"""`duomem-mlx memories build` and `add`: from trajectories to memories in a live bank."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duomem_mlx.cli import banks, options, output, remote, wiring, writers

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.trajectory import Trajectory

FEW = 10  # successes
FAR_ONLY = "Add --writer remote, or leave that out."

Files = Annotated[
    list[Path], typer.Argument(metavar="TRAJECTORIES", help="What `teach` wrote, or RESULTS/episodes/ARM.")
]
Thin = Annotated[
    int | None,
    typer.Option("--thin", min=1, metavar="N", help="At most N memories of one task sentence, the shortest first."),
]
By = Annotated[str, typer.Option("--by", metavar="task|room|facts", help="What a memory is found by.")]
Writer = Annotated[
    str,
    typer.Option(
        "--writer",
        metavar="plain|script|student|remote",
        help="Who writes scripts: nobody (the actions in a row), the environment, the student, or an endpoint's model.",
    ),
]
Way = Annotated[
    str, typer.Option("--way", metavar="direct|rounds", help="How a model writes: at once, or events first.")
]
Form = Annotated[
    str, typer.Option("--form", metavar="script|trajectory|both", help="What a memory says: how, or what was done.")
]


def build(
    context: typer.Context,
    trajectories: Files,
    out: options.Out = None,
    env: options.Env = options.WORLD,
    by: By = "task",
    form: Form = "script",
    writer: Writer = writers.SCRIPT,
    way: Way = "direct",
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    api_key_env: options.KeyVariable = None,
    price_in: options.PriceIn = 0.0,
    price_out: options.PriceOut = 0.0,
    max_cost: options.MaxCost = None,
    encoder: banks.EncoderName = None,
    thin: Thin = None,
    limit: options.Limit = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """A live bank with a memory for every trajectory that was won.

    The same task with the same script, met again, makes its memory stronger. The bank stands in its place when it is
    whole, not before; what a model wrote for it meanwhile is kept beside it, and not asked for again. The student's own
    successes are in RESULTS/episodes/base of an evaluation of training games.
    """
    from duomem_mlx.errors import DuomemError
    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.memory.encoder import load_encoder
    from duomem_mlx.memory.folders import is_bank
    from duomem_mlx.memory.keys import FACTS
    from duomem_mlx.memory.scripts import chosen
    from duomem_mlx.paths import digest
    from duomem_mlx.teachers.budget import Limits

    environment = wiring.open_environment(env, None, "fast")
    kept = chosen(_read(trajectories), thin, limit)
    far = writers.Far(base_url, api_key_env, Limits(price_in, price_out, max_cost))
    if writer != remote.REMOTE:
        remote.refuse_its_options(context, FAR_ONLY)
    asked = writers.asked_by(writer, model, far)
    finding = writers.finder_of_facts(asked, model) if by == FACTS else None
    settings = {"env": env, "by": by, "form": form, "encoder": encoder, "made_of": [t.id for t in kept]}
    if writer != writers.SCRIPT:
        settings |= {"writer": asked.name if asked else writer, "way": way}
    finder = "" if finding is None else writers.facts_finder(finding)[0]
    built_from = digest({**settings, "finder": finder} if finder else settings)[:16]
    folder = out or Path("runs") / f"memories-{built_from[:8]}"
    if is_bank(folder) and not overwrite:
        with Bank.open(folder) as bank:
            if bank.built_from == built_from:
                output.say(f"{folder} was built from these trajectories before.")
                _report_build(bank, kept, 0, json)
                return
    # Begun before anything is written: a taken folder and an unknown encoder are refused before they cost something.
    with Bank.building(
        folder, load_encoder(encoder), by=by, built_from=built_from, finder=finder, overwrite=overwrite
    ) as bank:
        if asked is not None:
            asked = writers.journaled(asked, folder)
        if finding is not None:
            finding = asked if asked and asked.name == finding.name else writers.journaled(finding, folder)
        write = writers.script_writer(environment, writer, way, asked)
        facts = None if finding is None else writers.facts_finder(finding)[1]
        memories, left_out = writers.memories_of(kept, environment, by, form, write, facts, asked)
        if not memories:
            raise DuomemError(f"None of {len(kept)} trajectories made a memory.", "Try another --writer or --model.")
        with output.progress("Remembering", len({memory.key for memory in memories})) as advance:
            bank.add(memories, lambda done: advance(done, "tasks"))
    with Bank.open(folder) as bank:
        _report_build(bank, kept, left_out, json)


def add(
    context: typer.Context,
    trajectories: Files,
    memories: options.Memories = None,
    env: options.Env = options.WORLD,
    form: Form = "script",
    writer: Writer = writers.SCRIPT,
    way: Way = "direct",
    model: options.Model = None,
    base_url: options.BaseUrl = None,
    api_key_env: options.KeyVariable = None,
    price_in: options.PriceIn = 0.0,
    price_out: options.PriceOut = 0.0,
    max_cost: options.MaxCost = None,
    json: options.Json = False,
) -> None:
    """Add memories of won trajectories to a live bank, all or none."""
    from duomem_mlx.memory.scripts import chosen
    from duomem_mlx.teachers.budget import Limits

    environment = wiring.open_environment(env, None, "fast")
    if writer != remote.REMOTE:
        remote.refuse_its_options(context, FAR_ONLY)
    asked = writers.asked_by(writer, model, writers.Far(base_url, api_key_env, Limits(price_in, price_out, max_cost)))
    with writers.ready(banks.open_named(memories), model if asked is None or asked.here else None) as bank:
        bank.add([])  # refuses a bank that cannot be changed before anything is written that costs something
        if asked is not None:
            asked = writers.journaled(asked, bank.path)
        write = writers.script_writer(environment, writer, way, asked)
        kept = chosen(_read(trajectories), None, None)
        new, left_out = writers.memories_of(kept, environment, bank.by, form, write, bank.facts, asked)
        before = len(bank)
        bank.add(new)
        counts = {
            "bank": str(bank.path),
            "added": len(bank) - before,
            "strengthened": len(new) - (len(bank) - before),
            "left_out": left_out,
            "memories": len(bank),
        }
    if json:
        output.result(counts)
        return
    output.line(
        f"{counts['added']} memories added, {counts['strengthened']} made stronger, {counts['memories']} in {memories}."
    )


def _read(files: Sequence[Path]) -> "list[Trajectory]":
    from duomem_mlx.errors import UsageError
    from duomem_mlx.trajectory import read_trajectories

    found = [trajectory for file in files for trajectory in read_trajectories(file)]
    if not any(trajectory.won for trajectory in found):
        raise UsageError(
            f"None of these {len(found)} trajectories was won.",
            "Memories are made of successes: see `duomem-mlx teach`.",
        )
    wiring.tell_what_measures(found)
    return found


def _report_build(bank: "Bank", trajectories: "Sequence[Trajectory]", left_out: int, json: bool) -> None:
    counts = {
        **banks.head_of(bank),
        "trajectories": len(trajectories),
        "tasks": len({trajectory.task for trajectory in trajectories}),
        "left_out": left_out,
    }
    if json:
        output.result(counts)
        return
    output.line(f"{counts['count']} memories of {counts['trajectories']} trajectories in {bank.path}.")
    if counts["trajectories"] < FEW:
        output.say(f"Of so few successes (under {FEW}) nothing can be told about what memories are worth.")
    output.hint(output.call("memories", "search", trajectories[0].task, named={"--memories": bank.path}))
