"""`duomem-mlx`: the command groups put together, and how a call ends."""

import os
import sys

import typer

from duomem_mlx.errors import DuomemError

app = typer.Typer(
    name="duomem-mlx",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distil a big agent into a small one: procedural memories before the prompt, a LoRA adapter in the weights.",
)


def version(wanted: bool) -> None:
    if wanted:
        from duomem_mlx import __version__

        typer.echo(f"duomem-mlx {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _version: bool = typer.Option(
        False, "--version", callback=version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    pass


def run() -> None:
    """Entry point. Exit status: 0 done, 1 failed, 2 the call's words are off, 130 stopped by Ctrl-C."""
    try:
        app()
    except DuomemError as error:
        if os.environ.get("DUOMEM_DEBUG"):
            raise
        typer.echo(f"duomem-mlx: {error}", err=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        typer.echo("duomem-mlx: stopped; what was finished is saved, the same command again goes on.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
