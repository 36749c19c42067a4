"""`duomem-mlx games`: which games there are, playing one, making new ones, fetching ALFWorld's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from duomem_mlx.household.environment import HouseholdGame
    from duomem_mlx.household.files import Survey

app = typer.Typer(no_args_is_help=True, help="List, play, generate and fetch games.")

Spec = Annotated[
    str | None,
    typer.Argument(
        metavar="SPEC",
        help="A split, a folder, a game file, generated:SEED[:COUNT] or embedded [default: the splits there are].",
    ),
]
Which = Annotated[str, typer.Argument(metavar="GAME", help="An id, a game file, its folder, or generated:SEED.")]
Count = Annotated[int, typer.Option("--count", min=1, max=1_000_000, metavar="N", help="How many games.")]
GamesOut = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for the game files.")]
Source = Annotated[
    str | None,
    typer.Option("--from", metavar="URL", help="A mirror: the URL of a folder that holds ALFWorld's archives."),
]


@app.command("list")
def list_(
    spec: Spec = None,
    limit: options.Limit = None,
    games_dir: options.GamesDir = None,
    json: options.Json = False,
) -> None:
    """The splits in the data folder, or the games of SPEC.

    They stand in the order in which every command plays them.
    """
    if spec is None:
        _list_splits(games_dir, json)
    else:
        _list_games(spec, limit, games_dir, json)


@app.command()
def play(
    game: Which = "",
    games_dir: options.GamesDir = None,
    engine: options.Engine = "fast",
) -> None:
    """Play a game yourself; Tab completes what is possible. An empty line or Ctrl-D ends it."""
    from duomem_mlx.household.environment import EMBEDDED, household

    room = household(games_dir, engine).open(game or EMBEDDED[0])
    typer.echo(room.reset())
    steps = 0
    for command in _commands(room):
        typer.echo(room.step(command))
        steps += 1
        if room.done:
            typer.echo(f"\nDone in {steps} steps.")
            return
    output.say(f"\nNot done after {steps} steps.")


def _commands(room: "HouseholdGame") -> "Iterator[str]":
    """What the person types, until an empty line or the end of input."""
    ask = _line_reader(room)
    while True:
        try:
            command = ask("\n> ")
        except EOFError:
            return
        if not command.strip():
            return
        yield command


def _line_reader(room: "HouseholdGame") -> "Callable[[str], str]":
    """With history and completion on a terminal, where the extra is installed; else plain lines."""
    import sys

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return lambda prompt: sys.stdin.readline() or _end()
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.history import FileHistory
    except ImportError:
        output.say("(For completion and history: pip install 'duomem-mlx[play]'.)")
        return input
    from duomem_mlx.paths import home

    home().mkdir(parents=True, exist_ok=True)
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(home() / "play_history")),
        completer=WordCompleter(room.valid_commands, sentence=True),
        complete_while_typing=False,
    )
    return session.prompt


def _end() -> str:
    raise EOFError


@app.command()
def fetch(
    games_dir: options.GamesDir = None,
    source: Source = None,
    json: options.Json = False,
) -> None:
    """ALFWorld's text games into the data folder. What is there stays, a stopped download goes on."""
    from contextlib import ExitStack
    from dataclasses import asdict

    from duomem_mlx.errors import DuomemError
    from duomem_mlx.household import fetch as fetching
    from duomem_mlx.household import files

    root = files.data_folder(games_dir)
    output.say(f"ALFWorld's text games go to {root}.")
    with ExitStack() as bars:
        checks = fetching.fetch(root, source, _Stages(bars).report)
    if json:
        output.result({"folder": str(root), "splits": [{**asdict(c), "changed": len(c.changed)} for c in checks]})
    else:
        rows = [(c.split, str(c.games), str(c.expected), str(len(c.changed))) for c in checks]
        output.table(("split", "games", "of", "changed"), rows)
    if short := [c.split for c in checks if c.games != c.expected]:
        raise DuomemError(f"Games are missing in {', '.join(short)}.", "Run the same command again.")
    if any(c.changed for c in checks):
        output.say("Changed games play, but figures on them do not compare with others'.")
    output.hint(output.call("games", "list", named={"--games-dir": games_dir}))


class _Stages:
    """A bar for each stage of a job that tells which one it is in."""

    def __init__(self, bars: "ExitStack") -> None:
        self._bars = bars
        self._stage = ""

    def report(self, stage: str, done: int, total: int | None) -> None:
        if stage != self._stage:
            self._bars.close()
            self._stage = stage
            self._advance = self._bars.enter_context(output.progress(stage, total))
        self._advance(done, "")


@app.command()
def generate(
    out: GamesOut,
    seed: options.Seed = 0,
    count: Count = 10,
    json: options.Json = False,
) -> None:
    """Write new games as files that ALFWorld and TextWorld can play. To play them here, generated:SEED is enough."""
    from duomem_mlx.household.generator import generate as make
    from duomem_mlx.household.generator import write_files
    from duomem_mlx.household.textworld_engine import installed_rules

    rules = installed_rules()
    with output.progress("games", count) as advance:
        for place in range(count):
            write_files(make(seed + place), rules, out)
            advance(place + 1, "")
    if json:
        output.result({"out": str(out), "seed": seed, "games": count})
        return
    output.say(f"{count} games in {out}")
    output.hint(output.call("games", "list", out))


def _list_splits(games_dir: Path | None, json: bool) -> None:
    from duomem_mlx.household import files

    root = files.data_folder(games_dir)
    folder = root / files.DATA_FOLDER
    names = sorted(place.name for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []
    found = {name: files.survey(folder / name) for name in names}
    if json:
        output.result({"folder": str(root), "splits": {name: _survey(name, found[name]) for name in names}})
        return
    if not any(split.playable for split in found.values()):
        reasons = "; ".join(split.trouble for split in found.values() if split.trouble)
        output.say(f"No games in {root}{f' ({reasons})' if reasons else ''}.")
        output.hint("duomem-mlx games fetch, or duomem-mlx games list embedded")
        return
    rows = []
    for name, split in found.items():
        expected = files.EXPECTED.get(name)
        rows.append((name, str(len(split.playable)), "–" if expected is None else str(expected), split.trouble))
    output.table(("split", "games", "of", "trouble"), rows)
    first = next(name for name in names if found[name].playable)
    output.hint(output.call("games", "list", first, named={"--limit": 10, "--games-dir": games_dir}))


def _survey(name: str, split: "Survey") -> dict[str, Any]:
    from collections import Counter

    from duomem_mlx.household import files

    kinds = Counter(files.kind_of(folder, game) for game, folder in split.playable.items())
    return {
        "games": len(split.playable),
        "expected": files.EXPECTED.get(name),
        "missing": split.missing,
        "torn": split.torn,
        "stale": split.stale,
        "unsolvable": split.unsolvable,
        "unsupported": split.unsupported,
        "by_type": {kind: kinds[kind] for kind in files.KINDS if kinds[kind]},
    }


def _list_games(spec: str, limit: int | None, games_dir: Path | None, json: bool) -> None:
    from duomem_mlx.environment import ordered
    from duomem_mlx.household import files
    from duomem_mlx.household.environment import household

    home = household(games_dir)
    rows = []
    for game_id in ordered(home, spec, limit):
        rows.append((game_id, home.kind(game_id), home.open(game_id).task))
    if json:
        output.result({"games": [dict(zip(("game", "kind", "task"), row, strict=True)) for row in rows]})
        return
    output.table(("game", "kind", "task"), rows)
    first = rows[0][0]
    in_data_folder = spec in files.SPLITS or ":" in first
    where = first if in_data_folder else home.locate(first)[1]
    output.hint(output.call("games", "play", where, named={"--games-dir": games_dir}))
