"""`duomem-mlx models`: models that have a name here, and where they lie."""

from pathlib import Path
from typing import Any

import typer

from duomem_mlx.cli import options, output

HELP = """The models that have a name here: the default student and the default encoder.

--model takes such a name, the folder of a model in MLX's or the Hub's format, or a Hub id.
"""
app = typer.Typer(help=HELP, rich_markup_mode=None)


@app.callback()
def models() -> None:
    pass


@app.command("list")
def list_models(json: options.Json = False) -> None:
    """List the models with a name here, and where they lie."""
    from duomem_mlx.errors import DuomemError
    from duomem_mlx.models_on_disk import KNOWN, fetch_hint, locate

    found: list[dict[str, Any]] = []
    for known in KNOWN.values():
        entry: dict[str, Any] = {"name": known.name, "role": known.role, "hub": known.hub}
        try:
            located = locate(known.name, fetch=False)
            entry |= {"source": located.source, "path": str(located.path), "bytes": _bytes(located.path)}
        except DuomemError as error:
            entry["fault"] = error.what
        found.append(entry)
    if json:
        output.result({"models": found})
        return
    rows = [
        [
            entry["name"],
            entry["role"],
            f"{entry['bytes'] / 1e6:.0f} MB" if "bytes" in entry else "",
            entry.get("path") or entry["fault"],
        ]
        for entry in found
    ]
    output.table(["name", "role", "size", "where"], rows)
    if any("fault" in entry for entry in found):
        output.say(fetch_hint())


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
