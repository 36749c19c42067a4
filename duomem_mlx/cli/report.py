"""`duomem-mlx report`: an evaluation for people to look at."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import options, output, wiring

if TYPE_CHECKING:
    from duomem_mlx.environment import Environment

Results = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULTS…", help="What `evaluate` wrote, finished or not; further ones stand beside the first."
    ),
]
Into = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Where both files go [default: the results' own folder].")
]
World = Annotated[
    str | None,
    typer.Option("--env", metavar="SPEC", help="The world that was played, if it is not an installed one."),
]
AdapterThere = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        metavar="ID",
        help="Where the adapter lies that was evaluated [default: the shipped one, if it is].",
    ),
]
BankThere = Annotated[
    str | None,
    typer.Option(
        "--memories",
        metavar="ID",
        help="Where the bank lies that was evaluated [default: the shipped one, if it is].",
    ),
]
OwnThere = Annotated[
    str | None,
    typer.Option("--own-memories", metavar="ID", help="Where the bank of the student's own successes lies."),
]


def report(
    results: Results,
    env: World = None,
    adapter: AdapterThere = None,
    memories: BankThere = None,
    own_memories: OwnThere = None,
    out: Into = None,
    json: options.Json = False,
) -> None:
    """Write report.md, and report.html: one file with tables, plots and every game, step by step.

    It needs no network and no other file. In the household arms stand beside the paper's; games can be searched,
    filtered by outcome and by why they were not won, and two arms looked at side by side. Several evaluations (the same
    student in 4 bits, another model) stand beside one another, with bytes, speed and success, and are compared on the
    games they share. With the adapter and the bank at hand it tells what they take on disk, and what the memories say.
    Needs the extra `report`.
    """
    from duomem_mlx.memory.folders import find_bank
    from duomem_mlx.offers import cause_of
    from duomem_mlx.report.writing import write_report
    from duomem_mlx.student.agent import adapter_folder

    world = world_of(results[0], env)
    written = write_report(
        results[0],
        out,
        None if world is None else cause_of(world),
        None if adapter is None else adapter_folder(adapter),
        None if memories is None else find_bank(memories),
        None if own_memories is None else find_bank(own_memories),
        results[1:],
    )
    if json:
        files = {"html": written.html, "markdown": written.markdown}
        told: dict[str, Any] = {n: {"path": str(f), "bytes": f.stat().st_size} for n, f in files.items()}
        output.result({**told, "games": written.games, "episodes": written.episodes, "unfinished": written.unfinished})
        return
    if written.unfinished:
        output.say(
            f"Not finished: {', '.join(f'{n} games of {arm} are left' for arm, n in written.unfinished.items())}."
        )
    output.say(f"{written.episodes} episodes of {written.games} games.")
    for file in (written.html, written.markdown):
        output.line(f"{file}  {file.stat().st_size / 1e6:.2f} MB")
    output.hint(output.opening(written.html))


def world_of(results: Path, env: str | None) -> "Environment | None":
    """The world that was played: the one the call names, else an installed one of the results' own word; None for any
    other. Code of somebody's is named by the call, never by results, which may come from anyone."""
    from duomem_mlx.environment import installed_environments
    from duomem_mlx.report.reading import read_run

    played = read_run(results).get("env")
    if env is None and played not in installed_environments():
        output.say(f"Why games were not won is told without the world's own word; --env {played} would ask it.")
        return None
    return wiring.open_environment(env or str(played), None, wiring.FAST)
