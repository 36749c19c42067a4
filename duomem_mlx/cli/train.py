"""`duomem-mlx train`: trajectories -> a LoRA adapter."""

import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import lessons, machine, options, output, training, wiring
from duomem_mlx.cli import rounds as course

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.student.transcript import Writer
    from duomem_mlx.training.settings import TrainSettings

Paths = Annotated[
    list[Path], typer.Argument(metavar="TRAJECTORIES", help="Files of trajectories, or folders that `teach` wrote.")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="FILE", help="A YAML file of settings; the command line wins."),
]
ShowRows = Annotated[
    int, typer.Option("--show-rows", min=0, metavar="N", help="Print N rows, what is trained marked, and stop.")
]
Iters = Annotated[int | None, typer.Option("--iters", metavar="N", help="Steps [default: what the epochs hold].")]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        metavar="N",
        help="Passes over the trajectories; 0: on-policy rounds alone, from --adapter [default: 1].",
    ),
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", metavar="N", help="Rows a step [default: 4].")]
Rate = Annotated[
    float | None, typer.Option("--learning-rate", metavar="RATE", help="Its highest value [default: 0.001].")
]
Layers = Annotated[
    int | None, typer.Option("--num-layers", metavar="N", help="Blocks from the last one [default: -1, all].")
]
Rank = Annotated[
    int | None, typer.Option("--rank", metavar="N", help="[default: 16, less where that is 10M parameters or more]")
]
Scale = Annotated[float | None, typer.Option("--scale", metavar="X", help="alpha / rank [default: 2].")]
FineTuneType = Annotated[
    str | None, typer.Option("--fine-tune-type", metavar="lora|dora", help="Kind of adapter [default: lora].")
]
Dropout = Annotated[
    float | None, typer.Option("--dropout", metavar="P", help="Share of an adapter's inputs left out [default: 0].")
]
Targets = Annotated[
    str | None,
    typer.Option("--targets", metavar="NAMES", help="q_proj,v_proj or the like [default: every linear layer]."),
]
Longest = Annotated[
    int | None, typer.Option("--max-seq-length", metavar="N", help="Tokens a row; longer ones are cut [default: 2048].")
]
SaveEvery = Annotated[int | None, typer.Option("--save-every", metavar="N", help="Steps [default: 50].")]
EvalEvery = Annotated[int | None, typer.Option("--eval-every", metavar="N", help="Steps [default: 100].")]
HeldOut = Annotated[
    float | None,
    typer.Option("--held-out", metavar="SHARE", help="Of the games, for validation [default: 0.02]."),
]
TrainK = Annotated[
    int | None, typer.Option("--k", "-k", metavar="N", help="Memories a row shows, 0 to N of them [default: 4].")
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience", metavar="N", help="Validations without a gain that end the run; 0: none do [default: 5]."
    ),
]
Checkpointing = Annotated[
    bool | None,
    typer.Option(
        "--grad-checkpoint/--no-grad-checkpoint",
        help="Less memory, more time [default: for the rows that --ram asks it for].",
    ),
]
MaxHours = Annotated[
    float | None,
    typer.Option("--max-hours", min=0, metavar="H", help="End this call by then, with a usable adapter."),
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Try some rows out, say hours, memory and disk, and stop.")]
TrainSeed = Annotated[int | None, typer.Option("--seed", metavar="N", help="All randomness [default: 0].")]
Begin = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        "--resume-adapter-file",
        metavar="ID",
        help="Go on from this adapter: its folder, its file, or a shipped one's name [default: a fresh one].",
    ),
]
Half = Annotated[bool | None, typer.Option("--half/--full", help="Store the adapter in float16 [default: full].")]


LENGTHS = {"iters", "epochs"}


def train(
    trajectories: Paths,
    model: options.Model = None,
    memories: options.Memories = None,
    k: TrainK = None,
    prompt_style: options.PromptStyle = None,
    env: options.Env = options.WORLD,
    iters: Iters = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: Rate = None,
    num_layers: Layers = None,
    fine_tune_type: FineTuneType = None,
    rank: Rank = None,
    scale: Scale = None,
    dropout: Dropout = None,
    targets: Targets = None,
    max_seq_length: Longest = None,
    held_out: HeldOut = None,
    eval_every: EvalEvery = None,
    save_every: SaveEvery = None,
    patience: Patience = None,
    ram: options.Ram = None,
    keep_awake: machine.KeepAwake = False,
    grad_checkpoint: Checkpointing = None,
    max_hours: MaxHours = None,
    seed: TrainSeed = None,
    half: Half = None,
    adapter: Begin = None,
    on_policy: course.OnPolicy = 0,
    on_policy_games: course.OnPolicyGames = None,
    allow_side_effects: options.SideEffects = False,
    config: ConfigFile = None,
    show_rows: ShowRows = 0,
    plan: PlanOnly = False,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Train a LoRA adapter on every action of the trajectories that were won.

    Writes the adapter in mlx-lm's format, with duomem.json and metrics.jsonl. The same command again goes on where
    it stopped, also after --max-hours; an adapter is there then, too. With --on-policy the student then plays games
    that it was trained on, none that are held out, and is trained on what the environment's teacher would have done
    where the student went: rounds/N/trajectories.jsonl.
    """
    started = time.monotonic()
    wiring.one_thread_a_product()
    from duomem_mlx.errors import UsageError
    from duomem_mlx.models_on_disk import STUDENT, locate
    from duomem_mlx.paths import alone_in, read_json, run_folder
    from duomem_mlx.prompt import CHAT
    from duomem_mlx.student.agent import usual_style
    from duomem_mlx.student.machine import size_in_bytes
    from duomem_mlx.tools import runs
    from duomem_mlx.training.fit import OUTPUTS, is_finished
    from duomem_mlx.training.on_policy import copy_adapter
    from duomem_mlx.training.ranks import heed_launcher, here
    from duomem_mlx.training.settings import names_in

    ranks = here()
    heed_launcher()
    if not ranks.first:
        output.mute()
    machine.keep_awake(keep_awake)
    given = {
        "prompt_style": prompt_style,
        "k": k,
        "iters": iters,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "num_layers": num_layers,
        "fine_tune_type": fine_tune_type,
        "rank": rank,
        "scale": scale,
        "dropout": dropout,
        "targets": names_in(targets) if targets else None,
        "max_seq_length": max_seq_length,
        "held_out": held_out,
        "eval_every": eval_every,
        "save_every": save_every,
        "patience": patience,
        "ram": size_in_bytes(ram) if ram else None,
        "grad_checkpoint": grad_checkpoint,
        "seed": seed,
        "half": half,
    }
    located = locate(model or STUDENT)
    filed = from_yaml(config) if config else {}
    begin = None if adapter in (None, wiring.NONE) else wiring.begun_from(str(adapter), model, given | filed)
    environment = wiring.open_environment(env, None, "fast")
    with_tools = environment.name == runs.NAME
    usual = CHAT if with_tools else (begin and wiring.trained_style(begin)) or usual_style(located.name)
    settings, sources = resolve({"prompt_style": usual}, filed, given)
    if with_tools and settings.prompt_style != CHAT:
        raise UsageError(f"{settings.prompt_style} has no place for tools.", "Use --prompt-style chat.")
    rounds = course.chosen_rounds(on_policy, on_policy_games, environment)
    if rounds is not None:
        wiring.may_play(environment, allow_side_effects)
    if rounds is not None and ranks.count > 1:
        raise UsageError("On-policy rounds are played by one process.", "Leave out mlx.launch, or --on-policy.")
    if settings.epochs == 0 and (begin is None or rounds is None):
        raise UsageError(
            "--epochs 0 trains on no trajectory.", "Add --adapter ID and --on-policy ROUNDS, or leave it out."
        )
    if settings.epochs == 0 and (show_rows or plan):
        raise UsageError("Before rounds are played there are no rows of theirs.", "Leave --show-rows and --plan out.")
    chosen = lessons.successes(trajectories, environment)
    bank = wiring.open_bank(memories, environment, model) if settings.k else None
    if bank is None:
        settings = replace(settings, k=0)
    folder, finished = None, False
    if not show_rows and ranks.first:
        identity = {
            **asdict(settings),
            "model": located.name,
            "model_hash": located.identity,
            "memories_hash": None if bank is None else bank.identity,
            "trajectories": lessons.digest_of(chosen),
            **({} if begin is None else {"adapter_hash": wiring.identities(model, begin, None)["adapter_hash"]}),
            **({} if rounds is None else {"on_policy": asdict(rounds)}),
        }
        folder = run_folder(out, "train", identity, (*OUTPUTS, course.FOLDER), overwrite)
        folder = replace(folder, notes=machine.notes())
        tell_settings(settings, sources, located.name, bank)
        finished = folder.begun and course.is_finished(folder.path, rounds)
        if finished:
            output.say(f"This run is finished; its adapter is in {folder.path}.")
    if ranks.from_first(b"finished" if finished else None) is None:
        from duomem_mlx.offers import refused_by
        from duomem_mlx.student.agent import writer_for
        from duomem_mlx.student.models import load_student
        from duomem_mlx.student.serve.prompts import ChatPrompts
        from duomem_mlx.training.fit import prepare

        student = load_student(model, adapter=begin)
        writer: Writer | ChatPrompts
        if with_tools:
            writer = ChatPrompts.of(student.tokenizer)
        else:
            writer = writer_for(student, environment, settings.prompt_style)
            if writer.note:
                output.say(writer.note)
        prepared = prepare(
            chosen,
            writer,
            settings,
            None if bank is None else lessons.recalled(bank, chosen, settings.k),
            refused_by(environment),
            lambda trajectory: lessons.group_of(environment, trajectory),
        )
        if show_rows:
            head = {"prompt_style": settings.prompt_style} if json else None
            training.show(prepared.epochs[0].rows[:show_rows], student.tokenizer.decode, head)
            return
        first = folder if rounds is None or folder is None else course.imitation(folder)
        if plan and first is not None:
            found = training.planned(first, student, prepared, settings)
            if rounds is not None:
                output.say("Of imitation alone: what the rounds will be is known when they are played.")
            if json:
                output.result(found)
        if plan:
            return
        until = math.inf if max_hours is None else started + 3600 * max_hours
        if rounds is None or folder is None or first is None:
            training.train_in(folder, student, prepared, settings, until)
        else:
            if settings.epochs == 0 and begin is not None:
                folder.claim()
                copy_adapter(begin, first.path)
            elif not (folder.begun and is_finished(first.path)):
                training.train_in(first, student, prepared, settings, until, folder.claim)
            games = course.games_to_play(chosen, settings, environment)
            with alone_in(folder.path):
                course.train_rounds(folder, model, environment, bank, settings, rounds, games, until)
    if folder is None:
        return
    path = folder.path
    finished = course.is_finished(path, rounds)
    seconds = round(time.monotonic() - started, 1)
    record = read_json(path / "duomem.json", "adapter record")
    figures = record["figures"]
    if json:
        output.result({"adapter": str(path), "finished": finished, "seconds": seconds, **figures, **record["data"]})
        return
    output.say(f"The adapter is in {path} ({seconds:.0f} s).")
    if not finished:
        among = " of its round" if rounds is not None else ""
        output.say(
            f"The time was up after step {figures['steps']} of {figures['planned_steps']}{among}; the same command "
            "goes on from there, and this adapter can be used until then."
        )
    elif figures["steps"] < figures["planned_steps"]:
        output.say(f"It ended after step {figures['steps']}: {settings.patience} validations brought nothing better.")
    named = {"--adapter": path, "--model": model, "--memories": memories, **wiring.world_named(env), "--k": k}
    output.hint(
        output.call("serve", named=named) if with_tools else output.call("evaluate", named={**named, "--limit": 20})
    )


def resolve(
    usual: dict[str, Any], filed: dict[str, Any], given: dict[str, Any]
) -> "tuple[TrainSettings, dict[str, str]]":
    """The settings, and for each that is not the default where it came from. Raises UsageError for those that do not go
    together."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.training.settings import TrainSettings

    given = {name: value for name, value in given.items() if value is not None}
    if any(LENGTHS.issubset(found) for found in (given, filed)):
        raise UsageError("Both --iters and --epochs say how long to train.", "Leave one of them out.")
    if LENGTHS & given.keys():
        filed = {name: value for name, value in filed.items() if name not in LENGTHS}
    sources = {**dict.fromkeys(filed, "the file"), **dict.fromkeys(given, "this call")}
    settings = TrainSettings(**{**usual, **filed, **given})
    if settings.patience and not settings.held_out and "patience" in sources:
        raise UsageError("--patience counts validations, and with --held-out 0 there are none.", "Leave one out.")
    return settings, sources


def from_yaml(path: Path) -> dict[str, Any]:
    """Settings of a YAML file, by their names in TrainSettings; mlx-lm's `lora_parameters` is understood.

    Raises UsageError for what is not a file of settings, naming what is wrong in it.
    """
    import yaml  # type: ignore[import-untyped]

    from duomem_mlx.errors import UsageError
    from duomem_mlx.training.settings import from_mapping

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The settings {path} cannot be read: {error}.", "Check the path.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}.", "Mend that line.") from None
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no settings.", "Write lines such as `learning_rate: 0.001`.")
    return from_mapping(found, str(path))


def tell_settings(settings: "TrainSettings", sources: dict[str, str], model: str, bank: "Bank | None") -> None:
    output.say(f"Training {model}, memories {'none' if bank is None else bank.name}:")
    for name, value in asdict(settings).items():
        shown = "all" if name == "targets" and not value else value
        if value is None:
            shown = "by itself"
        elif name == "ram":
            shown = f"{value / 2**30:g} GB"
        origin = f"   ({sources[name]})" if name in sources else ""
        output.say(f"  {name} {shown}{origin}")
