"""A bank as a command names it, and what is told of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import wiring

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Bank

EncoderName = Annotated[
    str | None,
    typer.Option("--encoder", metavar="ID", help="What turns tasks into vectors [default: the shipped encoder]."),
]


def open_named(name: str | None) -> "Bank":
    """The bank of that name, the shipped one for None. Raises UsageError when there is none."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.memory.bank import Bank

    if name == wiring.NONE:
        raise UsageError("This command works on a bank, and none is named.", "Name a bank, or leave --memories out.")
    folder = wiring.bank_folder(name)
    if folder is None:
        raise UsageError("No bank is shipped.", "Name one with --memories, or build one with `memories build`.")
    return Bank.open(folder)


def head_of(bank: "Bank") -> dict[str, Any]:
    return {
        "bank": str(bank.path),
        "form": form_of(bank),
        "encoder": bank.encoder_id,
        "identity": bank.identity,
        "count": len(bank),
    }


def form_of(bank: "Bank") -> str:
    return "sealed" if bank.sealed else "live"
