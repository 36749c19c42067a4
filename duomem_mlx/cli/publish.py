"""`duomem-mlx publish`: an adapter with its memories and its card, to the Hub."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duomem_mlx.cli import options, output, wiring

if TYPE_CHECKING:
    from duomem_mlx.hub.bundle import Head

AdapterName = Annotated[str, typer.Argument(metavar="ADAPTER", help="A name under adapters/ or a folder.")]
Bank = Annotated[
    str | None,
    typer.Option("--memories", metavar="ID", help="The bank that goes with it [default: none]; a live one is sealed."),
]
Results = Annotated[
    Path | None,
    typer.Option("--results", metavar="DIR", help="What evaluate wrote for this adapter and this bank."),
]
To = Annotated[str, typer.Option("--to", metavar="OWNER/NAME", help="The repository on the Hub.")]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="OWNER/NAME", help="The base model on the Hub [default: as the results name it]."),
]
License = Annotated[
    str | None,
    typer.Option("--license", metavar="ID", help="Of the bundle, as the Hub names it [default: the base's]."),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="TEXT",
        help="Who taught it, with the licence; or search [default: what adapter and bank name].",
    ),
]
Public = Annotated[bool, typer.Option("--public", help="Let everybody read it [default: you alone].")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would go up, and stop; no network.")]


def publish(
    adapter: AdapterName,
    *,
    to: To,
    memories: Bank = None,
    results: Results = None,
    base: Base = None,
    license: License = None,
    teacher: Teacher = None,
    public: Public = False,
    dry_run: DryRun = False,
    json: options.Json = False,
) -> None:
    """Put an adapter, its memories and its card on the Hub, in one commit.

    The card is made from the results. Every text is looked through first: a path of this machine or a key stops it.
    Token and endpoint are the Hub's own: HF_TOKEN or `hf auth login`, HF_ENDPOINT.
    """
    from duomem_mlx.hub import bundle, transfer
    from duomem_mlx.hub.assemble import Said, assemble
    from duomem_mlx.memory.bank import Bank as OpenBank
    from duomem_mlx.student.agent import adapter_folder

    transfer.check_repo(to)
    source = adapter_folder(adapter)
    bank = None if memories in (None, wiring.NONE) else OpenBank.open(wiring.bank_folder(memories) or "")
    with tempfile.TemporaryDirectory(prefix="duomem-bundle-") as made:
        folder = Path(made)
        card = assemble(folder, source, bank, results, Said(to, base, license, teacher), transfer.own_token())
        head = bundle.read_head(folder / bundle.HEAD)
        files = {**{name: file.bytes for name, file in head.files.items()}, bundle.HEAD: _size(folder / bundle.HEAD)}
        record = {"to": to, "files": files, "bytes": sum(files.values()), "card": card}
        if dry_run:
            if json:
                output.result({**record, "private": not public, "dry_run": True})
                return
            tell(head, files, card)
            output.say(f"Nothing was sent. It would go to {to}, {'for everybody' if public else 'private'}.")
            return
        output.say(f"{len(files)} files, {record['bytes']:,} bytes, go to {to}.")
        done = transfer.publish(folder, list(files), to, public)
    if json:
        output.result({**record, "url": done.url, "commit": done.commit, "private": done.private})
        return
    if not done.changed:
        output.say("All of it was there already.")
    if public and done.private:
        output.say("The repository was there and is private; its settings on the Hub make it public.")
    output.line(f"{done.url}  {done.commit}")
    output.hint(output.call("pull", to))


def tell(head: "Head", files: dict[str, int], card: str) -> None:
    rows = [
        [name, f"{size:,}", head.files[name].sha256[:16] if name in head.files else ""] for name, size in files.items()
    ]
    output.table(["file", "bytes", "sha256"], [*rows, ["all", f"{sum(files.values()):,}", ""]])
    output.line("")
    output.line(card.rstrip("\n"))


def _size(path: Path) -> int:
    return path.stat().st_size
