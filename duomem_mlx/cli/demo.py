"""`duomem-mlx demo`: the main job on embedded games."""

from dataclasses import asdict
from typing import Annotated

import typer

from duomem_mlx.cli import options, output, wiring

Count = Annotated[int, typer.Option("--limit", min=1, max=11, metavar="N", help="How many embedded games.")]
Steps = Annotated[int, typer.Option("--max-steps", min=1, metavar="N", help="Actions a game.")]


def demo(limit: Count = 2, max_steps: Steps = 15, json: options.Json = False) -> None:
    """Play the same tasks without and with DuoMem, live, and compare.

    It needs no ALFWorld and no network once the default student and encoder are here; it fetches them if it can.
    """
    from duomem_mlx.defaults import first_games
    from duomem_mlx.demo import GameBegun, GameOver, play_both
    from duomem_mlx.environment import ordered
    from duomem_mlx.errors import DuomemError
    from duomem_mlx.student.adapters import usual_k
    from duomem_mlx.student.episodes import Turn

    environment = wiring.open_environment(options.WORLD, None, wiring.FAST)
    games = ordered(environment, first_games(environment), limit)
    adapter = wiring.adapter_path(None, None, environment)
    bank = wiring.open_bank(None, environment)
    if adapter is None or bank is None:
        raise DuomemError("The shipped adapter and memories are missing.", "Install duomem-mlx again.")
    output.say("Loading the student twice: as it is, and with what it was taught.")
    without = wiring.agent(environment, None, None, None, 0, None)
    with_duomem = wiring.agent(environment, None, adapter, bank, usual_k(adapter), None)
    show = output.say if json else output.line
    over: list[GameOver] = []
    said, again = "", 0
    for event in play_both(environment, without, with_duomem, games, max_steps):
        new = f"> {event.said}\n  {event.outcome.strip()}" if isinstance(event, Turn) else ""
        if again and new != said:
            show(f"  (the same {again} times more)")
        again = again + 1 if new and new == said else 0
        said = new
        if isinstance(event, GameBegun):
            show(f"\n── {event.arm}: {event.task} ──")
            for hit in event.hits:
                show(f"remembers  {hit.memory.script}")
            show(event.opening.strip())
        elif isinstance(event, GameOver):
            over.append(event)
            show(f"{'Won' if event.won else 'Not won'} after {event.steps} actions, {event.seconds:.1f} s.")
        elif not again:
            show(new)
    if json:
        output.result({"max_steps": max_steps, "games": [asdict(game) for game in over]})
        return
    output.line("")
    output.table(
        ("task", "arm", "won", "actions", "seconds", "tokens"),
        [[g.task, g.arm, "yes" if g.won else "no", str(g.steps), f"{g.seconds:.1f}", str(g.tokens)] for g in over],
    )
    output.hint(f"duomem-mlx run --number {limit + 1}   or   duomem-mlx doctor, to see what else is here")
