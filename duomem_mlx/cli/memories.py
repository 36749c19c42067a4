"""`duomem-mlx memories`: banks of procedural memories, built, searched and kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import options, output, wiring, writers

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.memory.record import Memory
    from duomem_mlx.trajectory import Trajectory

app = typer.Typer(no_args_is_help=True, help="Build, search and keep banks of procedural memories.")

Files = Annotated[list[Path], typer.Argument(metavar="TRAJECTORIES…", help="What `teach` wrote: files or folders.")]
BankName = Annotated[
    str | None,
    typer.Argument(metavar="[BANK]", help="A name under memories/ or a folder [default: the shipped bank]."),
]
EncoderName = Annotated[
    str | None,
    typer.Option("--encoder", metavar="ID", help="What turns tasks into vectors [default: the shipped encoder]."),
]
Thin = Annotated[
    int | None,
    typer.Option("--thin", min=1, metavar="N", help="At most N memories of one task sentence, the shortest first."),
]
PerTask = Annotated[
    int,
    typer.Option("--per-task", min=0, metavar="N", help="At most N memories of one task sentence; 0 for all."),
]
By = Annotated[str, typer.Option("--by", metavar="task|room|facts", help="What a memory is found by.")]
Writer = Annotated[
    str,
    typer.Option(
        "--writer",
        metavar="plain|script|student",
        help="Who writes scripts: nobody (the actions in a row), the environment, or the student.",
    ),
]
Way = Annotated[
    str, typer.Option("--way", metavar="direct|rounds", help="How a model writes: at once, or events first.")
]
Form = Annotated[
    str, typer.Option("--form", metavar="script|trajectory|both", help="What a memory says: how, or what was done.")
]
OutBank = Annotated[Path, typer.Option("--out", metavar="PATH", help="The folder it writes.")]


@app.command()
def build(
    trajectories: Files,
    out: options.Out = None,
    env: options.Env = wiring.HOUSEHOLD,
    by: By = "task",
    form: Form = "script",
    writer: Writer = writers.SCRIPT,
    way: Way = "direct",
    model: options.Model = None,
    encoder: EncoderName = None,
    thin: Thin = None,
    limit: options.Limit = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """A live bank with a memory for every trajectory that was won.

    The same task with the same script, met again, makes its memory stronger. The bank stands in its place when it is
    whole, not before; what a model wrote for it meanwhile is kept beside it, and not asked for again.
    """
    from duomem_mlx.memory.bank import Bank, is_bank
    from duomem_mlx.memory.encoder import load_encoder
    from duomem_mlx.memory.keys import FACTS
    from duomem_mlx.memory.scripts import chosen
    from duomem_mlx.paths import digest

    environment = wiring.open_environment(env, None, "fast")
    kept = chosen(_read(trajectories), thin, limit)
    asked = writers.asked_by(writer, model)
    finding = (asked or writers.asked_by(writers.STUDENT, model)) if by == FACTS else None
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
    if asked is not None:
        asked = writers.journaled(asked, folder)
    if finding is not None:
        finding = asked or writers.journaled(finding, folder)
    write = writers.script_writer(environment, writer, way, asked)
    facts = None if finding is None else writers.facts_finder(finding)[1]
    memories, left_out = writers.memories_of(kept, environment, by, form, write, facts)
    with (
        output.progress("Remembering", len({memory.key for memory in memories})) as advance,
        Bank.building(
            folder, load_encoder(encoder), by=by, built_from=built_from, finder=finder, overwrite=overwrite
        ) as bank,
    ):
        bank.add(memories, lambda done: advance(done, "tasks"))
    with Bank.open(folder) as bank:
        _report_build(bank, kept, left_out, json)


@app.command()
def add(
    trajectories: Files,
    memories: options.Memories = None,
    env: options.Env = wiring.HOUSEHOLD,
    form: Form = "script",
    writer: Writer = writers.SCRIPT,
    way: Way = "direct",
    model: options.Model = None,
    json: options.Json = False,
) -> None:
    """Add memories of trajectories that were won, all or none, to a live bank."""
    from duomem_mlx.memory.scripts import chosen

    environment = wiring.open_environment(env, None, "fast")
    asked = writers.asked_by(writer, model)
    with writers.ready(_open(memories), model) as bank:
        if asked is not None:
            asked = writers.journaled(asked, bank.path)
        write = writers.script_writer(environment, writer, way, asked)
        kept = chosen(_read(trajectories), None, None)
        new, left_out = writers.memories_of(kept, environment, bank.by, form, write, bank.facts)
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


@app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A task, as the world would put it.")],
    k: options.K = 4,
    memories: options.Memories = None,
    exclude_game: Annotated[
        str | None, typer.Option("--exclude-game", metavar="ID", help="No memory made from this game.")
    ] = None,
    per_task: PerTask = 1,
    floor: Annotated[float, typer.Option("--floor", metavar="X", help="The least cosine that counts.")] = -1.0,
    model: options.Model = None,
    diversity: Annotated[
        float,
        typer.Option(
            "--diversity", min=0.0, max=0.99, metavar="X", help="How much likeness to a memory already chosen costs."
        ),
    ] = 0.0,
    json: options.Json = False,
) -> None:
    """The memories a task would recall, with their cosines."""
    from duomem_mlx.memory.record import to_record

    with writers.ready(_open(memories), model) as bank:
        hits = bank.search(
            bank.question(text, "") if bank.facts else text,
            k,
            exclude_game=exclude_game,
            per_task=per_task or None,
            floor=floor,
            diversity=diversity,
        )
    if json:
        found = [{"cosine": round(hit.cosine, 6), **to_record(hit.memory)} for hit in hits]
        output.result({"query": text, "bank": str(bank.path), "hits": found})
        return
    if not hits:
        output.say("Nothing was found.")
        return
    for hit in hits:
        output.line(f"{hit.cosine:6.3f}  {hit.memory.id}  {hit.memory.task}")
        output.line("".join(f"{'':26}{line}\n" for line in hit.memory.script.splitlines()).rstrip("\n"))
    output.hint(f"duomem-mlx memories show {hits[0].memory.id}{_again(memories)}")


@app.command("list")
def list_(bank: BankName = None, json: options.Json = False) -> None:
    """One line a memory."""
    with _open(bank) as opened:
        if json:
            output.result({**_head(opened), "memories": [_line(memory) for memory in opened]})
            return
        rows = [
            (m.id, str(m.strength), str(m.uses), str(m.wins), str(len(m.steps)), m.task)
            for m in sorted(opened, key=lambda m: (m.task, m.id))
        ]
        output.table(("id", "strength", "uses", "wins", "steps", "task"), rows)
        output.say(f"{len(rows)} memories in {opened.path} ({_form(opened)}, encoder {opened.encoder_id}).")


@app.command()
def show(
    memory: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the start of it.")],
    memories: options.Memories = None,
    json: options.Json = False,
) -> None:
    """One memory, whole."""
    from duomem_mlx.memory.record import to_record

    with _open(memories) as bank:
        found = bank.get(memory)
    if json:
        output.result(to_record(found))
        return
    output.line(f"{found.id}  {found.task}\n\n{found.script}\n")
    for number, step in enumerate(found.steps, 1):
        output.line(f"{number:3}  {step}")
    output.line(f"\nfrom {found.source.game} ({found.source.split}), played by {found.source.teacher}")
    output.line(f"met {found.strength} times, used in {found.uses} games, {found.wins} of them won")


@app.command()
def forget(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Ids, or the starts of them.")],
    memories: options.Memories = None,
    json: options.Json = False,
) -> None:
    """Delete memories, text and vector together, and give a receipt."""
    from dataclasses import asdict

    with _open(memories) as bank:
        receipt = bank.forget([bank.get(prefix).id for prefix in ids])
    if json:
        output.result({"bank": str(bank.path), **asdict(receipt)})
        return
    for id_ in receipt.forgotten:
        output.line(f"forgotten  {id_}")
    output.line(f"{receipt.left} memories are left in {bank.path}, {receipt.when}.")


@app.command()
def export(
    bank: BankName = None, *, out: OutBank, overwrite: options.Overwrite = False, json: options.Json = False
) -> None:
    """Write a sealed copy, to ship or to publish."""
    with _open(bank) as opened:
        count = opened.export(out, overwrite)
    size = sum(file.stat().st_size for file in out.iterdir())
    if json:
        output.result({"bank": str(opened.path), "out": str(out), "memories": count, "bytes": size})
        return
    output.line(f"{count} memories, {size / 1e6:.2f} MB, in {out}.")
    output.hint(f"duomem-mlx memories verify {out}")


@app.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(metavar="BANK|FILE", help="A bank, sealed or live, or JSON Lines of other memories.")
    ],
    *,
    out: OutBank,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="OURS=THEIRS", help="A file's name for task, script, steps, …; repeatable."),
    ] = None,
    env: options.Env = wiring.HOUSEHOLD,
    encoder: EncoderName = None,
    json: options.Json = False,
) -> None:
    """Copy memories into a live bank, new or there already.

    Those of a bank keep their vectors, unless --encoder names another one. A file's fields are named with --field:
    steps=trajectory.actions takes `steps` from there.
    """
    from duomem_mlx.errors import UsageError
    from duomem_mlx.memory.bank import Bank, find_bank, is_bank
    from duomem_mlx.memory.encoder import load_encoder
    from duomem_mlx.memory.importers import read_foreign

    file = read_foreign(Path(source), _fields(field or []), env) if Path(source).is_file() else None
    given = Bank.open(find_bank(source)) if file is None else None
    if is_bank(out) and encoder is not None:
        raise UsageError(f"{out} has an encoder already.", "Leave out --encoder, or choose another --out.")
    name = encoder or (given.encoder_id if given else None)
    by = given.by if given else "task"
    with Bank.open(out) if is_bank(out) else Bank.building(out, load_encoder(name), by=by) as bank:
        before = len(bank)
        if given is not None:
            bank.add_bank(given)
        elif file is not None:
            bank.add(file.memories)
        counts = {"bank": str(out), "added": len(bank) - before, "memories": len(bank)}
    left_out = dict(file.left_out) if file else {}
    for reason, count in left_out.items():
        output.say(f"Left out {count} times: {reason}")
    if json:
        output.result({**counts, "left_out": left_out})
        return
    output.line(f"{counts['added']} memories added, {counts['memories']} in {out}.")
    output.hint(f"duomem-mlx memories list {out}")


def _fields(words: Sequence[str]) -> dict[str, str]:
    from duomem_mlx.errors import UsageError

    pairs = [word.partition("=") for word in words]
    if wrong := [ours for ours, equals, theirs in pairs if not (ours and equals and theirs)]:
        raise UsageError(f"--field {wrong[0]} says not what stands for what.", "Write --field task=question.")
    return {ours: theirs for ours, _, theirs in pairs}


@app.command()
def verify(bank: BankName = None, json: options.Json = False) -> None:
    """Check a bank, every memory and every vector of it."""
    from duomem_mlx.errors import DuomemError

    with _open(bank) as opened:
        problems = opened.verify()
        head = _head(opened)
    if json:
        output.result({**head, "sound": not problems, "problems": problems})
        if problems:
            raise typer.Exit(1)
        return
    for problem in problems:
        output.line(problem)
    if problems:
        raise DuomemError(f"The bank {head['bank']} is not sound.", "Restore it from a copy, or export it again.")
    output.line(f"{head['bank']}: {head['count']} memories, sound.")


def _open(name: str | None) -> "Bank":
    from duomem_mlx.errors import UsageError
    from duomem_mlx.memory.bank import Bank, find_bank
    from duomem_mlx.paths import shipped

    if name == wiring.NONE:
        raise UsageError("This command works on a bank, and none is named.", "Name a bank, or leave --memories out.")
    if name is not None:
        return Bank.open(find_bank(name))
    folder = shipped("memories", wiring.SHIPPED_BANK)
    if folder is None:
        raise UsageError("No bank is shipped.", "Name one with --memories, or build one with `memories build`.")
    return Bank.open(folder)


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
        **_head(bank),
        "trajectories": len(trajectories),
        "tasks": len({trajectory.task for trajectory in trajectories}),
        "left_out": left_out,
    }
    if json:
        output.result(counts)
        return
    output.line(f"{counts['count']} memories of {counts['trajectories']} trajectories in {bank.path}.")
    output.hint(f'duomem-mlx memories search "{trajectories[0].task}" --memories {bank.path}')


def _head(bank: "Bank") -> dict[str, Any]:
    return {
        "bank": str(bank.path),
        "form": _form(bank),
        "encoder": bank.encoder_id,
        "identity": bank.identity,
        "count": len(bank),
    }


def _form(bank: "Bank") -> str:
    return "sealed" if bank.sealed else "live"


def _line(memory: "Memory") -> dict[str, Any]:
    return {
        "id": memory.id,
        "task": memory.task,
        "steps": len(memory.steps),
        "strength": memory.strength,
        "uses": memory.uses,
        "wins": memory.wins,
        "game": memory.source.game,
    }


def _again(memories: str | None) -> str:
    return f" --memories {memories}" if memories else ""
