"""`duomem-mlx envs`: the worlds there are, a file to begin one of your own with, and a look at it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from duomem_mlx.cli import options, output, wiring

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A world's name, or package.module:factory.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A Python file to begin with; none may be there.")]
Splits = Annotated[
    list[str] | None,
    typer.Option("--games", metavar="SPLIT", help="A split to look at; repeatable [default: those the world names]."),
]
Count = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Games of each split that are played.")]

HELP = """Worlds to act in: those that are installed, and one of your own.

docs/environments.md says what a world offers. --env takes its name or package.module:factory.
"""
app = typer.Typer(help=HELP, rich_markup_mode=None)


@app.command("list")
def list_worlds(json: options.Json = False) -> None:
    """List the worlds that installed packages offer."""
    from duomem_mlx.environment import installed_environments, told

    found: list[dict[str, Any]] = []
    for name, point in installed_environments().items():
        entry: dict[str, Any] = {"name": name, "from": point.dist.name if point.dist else "", "factory": point.value}
        try:
            point.load()
        except Exception as error:  # another package's fault; the others are listed
            entry["fault"] = told(error)
        found.append(entry)
    if json:
        output.result({"environments": found})
        return
    rows = [[entry["name"], entry["from"], entry["factory"], entry.get("fault", "")] for entry in found]
    output.table(("name", "package", "factory", "fault"), rows)


@app.command("new")
def new_world(file: File) -> None:
    """Write a small world that works, to change into your own."""
    from importlib.resources import files

    from duomem_mlx.errors import UsageError
    from duomem_mlx.paths import write_text

    if file.suffix != ".py" or not file.stem.isidentifier():
        raise UsageError(f"{file} is no name that Python can import.", "Name it such as my_world.py.")
    if file.exists():
        raise UsageError(f"{file} is there already.", "Name another one; nothing was changed.")
    write_text(file, files("duomem_mlx").joinpath("example_world.py").read_text(encoding="utf-8"))
    output.say(f"A world of chests is in {file}.")
    spec = f"{file.stem}:TaughtChests"
    output.hint(f"{output.call('envs', 'check', spec)}   and   {output.call('teach', named={'--env': spec})}")


@app.command("check")
def check_world(
    env: Spec,
    games: Splits = None,
    limit: Count = 3,
    allow_side_effects: options.SideEffects = False,
    json: options.Json = False,
) -> None:
    """Play a world twice, and say what is missing or not the same the second time.

    Its own teacher plays, or a few words where it has none. Exit status 1 when games would break.
    """
    from duomem_mlx.doctor.checks import FAIL
    from duomem_mlx.doctor.world import examine_world
    from duomem_mlx.environment import splits_of

    environment = wiring.open_environment(env, None, wiring.FAST)
    wiring.may_play(environment, allow_side_effects)
    checks = examine_world(environment, games or splits_of(environment), limit)
    failed = any(check.status == FAIL for check in checks)
    if json:
        output.result({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        output.checks(checks)
    if failed:
        raise typer.Exit(1)
    output.hint(output.call("teach", named={"--env": env}))
