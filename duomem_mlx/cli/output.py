"""Printing: results on standard output, everything else on standard error."""

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from duomem_mlx.doctor.checks import Check

# What a world or a memory says may hold sequences that a terminal would obey; they are shown spelt out.
_TURNS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # they turn the direction of what is read
_HALVES = range(0xD800, 0xE000)  # of surrogate pairs; no stream takes them
_SPELT = {code: f"\\u{code:04x}" for code in (*_TURNS, *_HALVES)}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"} | _SPELT
_IN_A_CELL = _CONTROLS | {ord("\t"): "\\t", ord("\n"): "\\n"}
_IN_JSON = {code: f"\\u{code:04x}" for code in range(127, 160)} | _SPELT  # JSON's own way of writing the same text

_NARROWEST = 12  # cells of a column

_muted = False


def mute() -> None:
    """Say nothing more in this process: it is one of several, and another one speaks."""
    global _muted
    _muted = True


def result(value: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    if not _muted:
        typer.echo(json.dumps(value, ensure_ascii=False).translate(_IN_JSON))


def say(text: str, always: bool = False) -> None:
    """A line for the person watching; what went wrong is said `always`."""
    if not _muted or always:
        typer.echo(text.translate(_CONTROLS), err=True)


def hint(text: str) -> None:
    """What to do next, with the user's own words."""
    say(f"Next: {text}")


def call(*words: object, named: Mapping[str, object] | None = None) -> str:
    """A call of this program that a shell takes as it stands: command and arguments, then options with their values;
    None stands for an option that is left out."""
    options = (word for option in (named or {}).items() if option[1] is not None for word in option)
    return shlex.join(["duomem-mlx", *map(str, words), *map(str, options)])


def opening(file: Path) -> str:
    """A call that shows a file in the program that this machine keeps for its kind."""
    return shlex.join(["open" if sys.platform == "darwin" else "xdg-open", str(file)])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns that line up, numbers to the right, on standard output; on a terminal what is widest gives way."""
    from rich.cells import cell_len, set_cell_size

    rows = [[cell.translate(_IN_A_CELL) for cell in row] for row in rows]
    cells = [list(columns), *rows]
    widths = [max(cell_len(row[i]) for row in cells) for i in range(len(columns))]
    numeric = [all(_starts_like_number(row[i]) for row in rows) and bool(rows) for i in range(len(columns))]
    if sys.stdout.isatty():
        _narrow(widths, numeric, shutil.get_terminal_size().columns)
    for row in cells:
        shown = [
            text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
            for text, width in zip(row, widths, strict=True)
        ]
        padded = [
            " " * (width - cell_len(text)) + text if right else text + " " * (width - cell_len(text))
            for text, width, right in zip(shown, widths, numeric, strict=True)
        ]
        typer.echo("  ".join(padded).rstrip())


def checks(found: "Sequence[Check]") -> None:
    """What was looked at, one a line with its fix below it, on standard output."""
    from duomem_mlx.doctor.checks import ABSENT

    width = max(len(check.name.translate(_IN_A_CELL)) for check in found)
    for check in found:
        status = "–" if check.status == ABSENT else check.status
        typer.echo(f"{status:4}  {check.name.translate(_IN_A_CELL):{width}}  {check.found.translate(_IN_A_CELL)}")
        if check.fix:
            typer.echo(f"      {'':{width}}  {check.fix}")


def _narrow(widths: list[int], numeric: Sequence[bool], room: int) -> None:
    """Take from the widest column of text until all fit, or none could be read any more."""
    while sum(widths) + 2 * (len(widths) - 1) > room:
        widest = max((i for i in range(len(widths)) if not numeric[i]), key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1


def _starts_like_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "-+–" or text == "n/a"


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int, str], None]]:
    """Yield `advance(done, note)`: `done` items are finished so far. A bar with the time left on a terminal, a line
    every now and then in a pipe."""
    if _muted:
        yield lambda done, note: None
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total, note="")
            yield lambda done, note: bar.update(task, completed=done, note=note)
        return
    import time

    last, said = time.monotonic(), ""

    def advance(done: int, note: str) -> None:
        nonlocal last, said
        text = f"{title}: {done}{f'/{total}' if total else ''} {note}".rstrip()
        if text != said and (time.monotonic() - last >= 10 or done == total):
            last, said = time.monotonic(), text
            say(text)

    yield advance


def spelt(text: str) -> str:
    """Text of unknown origin in which no terminal finds anything to obey."""
    return text.translate(_CONTROLS)


def line(text: str) -> None:
    """A line of the result, on standard output at once."""
    if not _muted:
        typer.echo(text.translate(_CONTROLS))


def marked(spans: Sequence[tuple[str, bool]]) -> None:
    """Text on standard output, what is marked in green on a terminal and between ⟦ and ⟧ elsewhere."""
    colour = sys.stdout.isatty()
    parts = []
    for text, mark in spans:
        shown = text.translate(_CONTROLS)
        parts.append(shown if not mark else typer.style(shown, fg="green") if colour else f"⟦{shown}⟧")
    if not _muted:
        typer.echo("".join(parts))
