"""`duomem-mlx doctor`: what works here, what is missing, and the fix."""

from dataclasses import asdict

import typer

from duomem_mlx.cli import options, output


def doctor(games_dir: options.GamesDir = None, json: options.Json = False) -> None:
    """Look at this machine: Python, MLX, models, games, space. Nothing is fetched or changed.

    Exit status 1 when something that most commands need does not work.
    """
    from duomem_mlx.doctor import ABSENT, FAIL, examine

    checks = examine(games_dir)
    failed = any(check.status == FAIL for check in checks)
    if json:
        output.result({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            status = "–" if check.status == ABSENT else check.status
            typer.echo(f"{status:4}  {check.name:{width}}  {check.found}")
            if check.fix:
                typer.echo(f"      {'':{width}}  {check.fix}")
    if failed:
        raise typer.Exit(1)
