"""`duomem-mlx`: the commands put together, and how a call ends."""

import atexit
import errno
import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from duomem_mlx.cli.output import say
from duomem_mlx.errors import DuomemError, DuomemWarning

# A command, in the order of use -> what the list says of it. `cli/COMMAND.py` holds a function of that name or, for a
# group, a Typer called `app`; it is imported when it is called.
COMMANDS = {
    "demo": "The same task without and with DuoMem, in a few minutes.",
    "doctor": "What works on this machine, what is missing, and the fix.",
    "games": "List, play, generate and fetch games.",
    "teach": "Let a teacher play games and keep its trajectories.",
    "envs": "List worlds, begin one of your own, and check it.",
    "trajectories": "List, show, sum up and import trajectories.",
    "memories": "Build, search and keep banks of procedural memories.",
    "train": "Train a LoRA adapter on trajectories.",
    "run": "Play one game, live.",
    "evaluate": "Play the same games with and without memories and adapter.",
    "report": "Make an evaluation a page with plots and every game.",
    "serve": "Serve the student, with memories, as OpenAI does.",
    "fuse": "Fuse an adapter into its base, or write it for PEFT.",
    "publish": "Put an adapter, its memories and its card on the Hub.",
    "pull": "Fetch a published adapter with its memories, checked.",
    "models": "List the models with a name here; pack one in 4 or 8 bits.",
    "bench": "Measure how quick this machine plays.",
}
RESUMING = ("teach", "train", "evaluate", "fuse", "games fetch")  # they save what is finished, and go on from it


class Commands(TyperGroup):
    """Commands that are listed without being imported."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, line in COMMANDS.items():
            self.add_command(TyperCommand(name, help=line, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, load(str(name)) if listed else None, rest


def load(name: str) -> Any:
    """The command itself, from its module."""
    module = importlib.import_module(f"duomem_mlx.cli.{name}")
    parent = typer.Typer(rich_markup_mode=None)
    if hasattr(module, "app"):
        parent.add_typer(module.app, name=name, no_args_is_help=True)
    else:
        parent.command(name)(getattr(module, name))
    return typer.main.get_group(parent).commands[name]


app = typer.Typer(
    name="duomem-mlx",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100},
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
    code = 1

    def leave() -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    # MLX's threads may still let go of Python objects, and a thread that does so while the interpreter is taken down
    # aborts the process. What is registered first is called last, after all that others want done at the end.
    atexit.register(leave)
    code = status(lambda: app(prog_name="duomem-mlx"))
    sys.exit(code)


def status(command: Callable[[], Any]) -> int:
    """Call `command` and turn whatever comes of it into an exit status and, when it failed, one sentence."""
    try:
        try:
            with plain_warnings(), interrupts_kept():
                command()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except SystemExit as end:
        if end.code == 130:
            return stopped()
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return stopped()
    except BrokenPipeError:
        drop_output()
        return 1
    except Exception as error:
        if os.environ.get("DUOMEM_DEBUG"):
            import traceback

            traceback.print_exc()
        else:
            say(f"duomem-mlx: {explain(error)}", always=True)
        if isinstance(error, OSError):
            drop_output()
        return error.exit_status if isinstance(error, DuomemError) else 1
    return 0


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Our own warnings are lines for the person watching; others stay as Python prints them."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, DuomemWarning):
                say(str(message))
            else:
                others(message, category, *where, **more)

        warnings.showwarning = show
        yield


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """A Ctrl-C that comes down while Python clears an object away, where it would be printed and forgotten, comes anew.

    What is raised in the hook would be forgotten as well, so another thread sends it, a moment later.
    """
    others = sys.unraisablehook
    here = threading.get_ident()
    waiting: list[threading.Timer] = []
    sent: list[threading.Thread] = []

    def send() -> None:
        sent.append(threading.current_thread())
        signal.pthread_kill(here, signal.SIGINT)

    def keep(lost: "sys.UnraisableHookArgs") -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            others(lost)
            return
        while True:
            later = threading.Timer(0.01, send)
            later.daemon = True
            try:
                later.start()
                waiting.append(later)
                return
            except KeyboardInterrupt:  # starting waits for the thread; where others are at work, longer than it sleeps
                continue

    sys.unraisablehook = keep
    try:
        yield
    finally:
        sys.unraisablehook = others
        for later in waiting:
            later.cancel()
        for later in waiting:
            later.join()
        if not set(waiting) <= set(sent):
            raise KeyboardInterrupt


def resumes(words: list[str]) -> bool:
    return " ".join(words[:2]).startswith(RESUMING)


def stopped() -> int:
    going_on = "; what was finished is saved, the same command again goes on" if resumes(sys.argv[1:]) else ""
    say(f"duomem-mlx: stopped{going_on}.")
    return 130


def explain(error: Exception) -> str:
    """What went wrong and what to do, for a person."""
    if isinstance(error, DuomemError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" ({error.filename})" if error.filename else ""
        return f"The disk is full{where}. Free some space and run the same command again."
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}. Mend that and run the same command again."
    if isinstance(error, MemoryError):
        return "Memory ran out. Close other programs, or ask for less at once (--batch-size, --limit)."
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("duomem_mlx"):
        return f"The Python package {error.name} is missing. Install duomem-mlx again, with its dependencies."
    kind = type(error).__name__
    text = str(error).strip().split("\n")[0]
    return (
        f"This is a bug: {kind}{f' ({text})' if text else ''}. "
        "Run the same command with DUOMEM_DEBUG=1 before it, and report what it prints."
    )


def drop_output() -> None:
    """Nobody reads standard output any more: keep Python from complaining about that when it ends."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
