"""`duomem-mlx memories`: banks of procedural memories, built, searched and kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import banks, options, output, remember, writers

if TYPE_CHECKING:
    from duomem_mlx.memory.record import Memory

app = typer.Typer(no_args_is_help=True, help="Build, search and keep banks of procedural memories.")

BankName = Annotated[
    str | None,
    typer.Argument(metavar="BANK", help="A name under memories/ or a folder [default: the shipped bank]."),
]
PerTask = Annotated[
    int,
    typer.Option("--per-task", min=0, metavar="N", help="At most N memories of one task sentence; 0 for all."),
]
OutBank = Annotated[Path, typer.Option("--out", metavar="PATH", help="The folder it writes.")]


app.command()(remember.build)
app.command()(remember.add)


@app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A task, as the world would put it.")],
    k: Annotated[int, typer.Option("--k", "-k", min=0, metavar="N", help="How many, at most.")] = 4,
    memories: options.Memories = None,
    exclude_game: Annotated[
        str | None, typer.Option("--exclude-game", metavar="ID", help="No memory made from this game.")
    ] = None,
    per_task: PerTask = 1,
    floor: Annotated[float, typer.Option("--floor", metavar="X", help="The least cosine that counts.")] = -1.0,
    won_only: Annotated[
        bool, typer.Option("--won-only", help="None of a failure, in a bank that learnt from failures too.")
    ] = False,
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

    with writers.ready(banks.open_named(memories), model) as bank:
        hits = bank.search(
            bank.question(text, "") if bank.facts else text,
            k,
            exclude_game=exclude_game,
            per_task=per_task or None,
            floor=floor,
            diversity=diversity,
            won_only=won_only,
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
    output.hint(output.call("memories", "show", hits[0].memory.id, named={"--memories": memories}))


@app.command("list")
def list_(bank: BankName = None, json: options.Json = False) -> None:
    """One line a memory."""
    with banks.open_named(bank) as opened:
        if json:
            output.result({**banks.head_of(opened), "memories": [_line(memory) for memory in opened]})
            return
        rows = [
            (m.id, str(m.strength), str(m.uses), str(m.wins), str(len(m.steps)), m.task)
            for m in sorted(opened, key=lambda m: (m.task, m.id))
        ]
        output.table(("id", "strength", "uses", "wins", "steps", "task"), rows)
        output.say(f"{len(rows)} memories in {opened.path} ({banks.form_of(opened)}, encoder {opened.encoder_id}).")


@app.command()
def show(
    memory: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the start of it.")],
    memories: options.Memories = None,
    json: options.Json = False,
) -> None:
    """One memory, whole."""
    from duomem_mlx.memory.record import to_record

    with banks.open_named(memories) as bank:
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
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids, or the starts of them.")],
    memories: options.Memories = None,
    json: options.Json = False,
) -> None:
    """Delete memories, text and vector together, and give a receipt."""
    from dataclasses import asdict

    with banks.open_named(memories) as bank:
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
    with banks.open_named(bank) as opened:
        count = opened.export(out, overwrite)
    size = sum(file.stat().st_size for file in out.iterdir())
    if json:
        output.result({"bank": str(opened.path), "out": str(out), "memories": count, "bytes": size})
        return
    output.line(f"{count} memories, {size / 1e6:.2f} MB, in {out}.")
    output.hint(output.call("memories", "verify", out))


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
    env: options.Env = options.WORLD,
    encoder: banks.EncoderName = None,
    json: options.Json = False,
) -> None:
    """Copy memories into a live bank, new or there already.

    Those of a bank keep their vectors, unless --encoder names another one. A file's fields are named with --field:
    steps=trajectory.actions takes `steps` from there.
    """
    from duomem_mlx.errors import UsageError
    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.memory.encoder import load_encoder
    from duomem_mlx.memory.folders import find_bank, is_bank
    from duomem_mlx.memory.importers import read_foreign
    from duomem_mlx.memory.keys import TASK

    file = read_foreign(Path(source), _fields(field or []), env) if Path(source).is_file() else None
    given = Bank.open(find_bank(source)) if file is None else None
    if is_bank(out) and encoder is not None:
        raise UsageError(f"{out} has an encoder already.", "Leave out --encoder, or choose another --out.")
    if given and out.exists() and given.path.samefile(out):
        raise UsageError(f"{out} is that very bank.", "Choose another --out.")
    name = encoder or (given.encoder_id if given else None)
    by, finder = (given.by, given.finder) if given else (TASK, "")
    with Bank.open(out) if is_bank(out) else Bank.building(out, load_encoder(name), by=by, finder=finder) as bank:
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
    output.hint(output.call("memories", "list", out))


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
    from duomem_mlx.memory.folders import MATRIX

    with banks.open_named(bank) as opened:
        problems = opened.verify()
        head = banks.head_of(opened)
    if json:
        output.result({**head, "sound": not problems, "problems": problems})
        if problems:
            raise typer.Exit(1)
        return
    for problem in problems:
        output.line(problem)
    if problems:
        raise DuomemError(
            f"The bank {head['bank']} is not sound.",
            f"Restore it from a copy. {MATRIX} alone may be deleted: it is made anew.",
        )
    output.line(f"{head['bank']}: {head['count']} memories, sound.")


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
