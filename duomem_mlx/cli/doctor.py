"""`duomem-mlx doctor`: what works here, what is missing, and the fix."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from duomem_mlx.cli import options, output, wiring

if TYPE_CHECKING:
    from duomem_mlx.doctor.checks import Check

Looked = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", help="A model to look at: a Hub id, a folder, or a known name.")
]
Selftest = Annotated[
    bool, typer.Option("--selftest", help="Compute for half a minute instead: GPU and CPU, games together, training.")
]
GAMES = 3  # that it plays


def doctor(
    model: Looked = None,
    selftest: Selftest = False,
    games_dir: options.GamesDir = None,
    json: options.Json = False,
) -> None:
    """Look at this machine: Python, MLX, models, games, space. Nothing is fetched or changed.

    With MODEL at that model: does it fit, does its chat template work, does it think, may it be fetched. Of one that
    is on the Hub only, its configuration and tokenizer are fetched. With --selftest whether this machine computes what
    it should. Exit status 1 when something that most commands need does not work.
    """
    from duomem_mlx.doctor.checks import FAIL

    if selftest:
        checks = tested(model)
    elif model is not None:
        from duomem_mlx.doctor.model import examine_model

        checks = examine_model(model)
    else:
        from duomem_mlx.doctor.machine import examine

        checks = examine(games_dir)
    failed = any(check.status == FAIL for check in checks)
    if json:
        output.result({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        output.checks(checks)
    if failed:
        raise typer.Exit(1)


def tested(model: str | None) -> "list[Check]":
    """The self-test, with the shipped adapter where it is for this model."""
    wiring.one_thread_a_product()
    from duomem_mlx.defaults import many_games
    from duomem_mlx.doctor.selftest import examine_itself
    from duomem_mlx.environment import ordered

    environment = wiring.open_environment(options.WORLD, None, wiring.FAST)
    adapter = wiring.adapter_path(None, model, environment)
    games = ordered(environment, many_games(environment), GAMES)
    with output.progress("Testing", 3) as advance:
        return examine_itself(model, adapter, environment, games, advance)
