"""The household as an environment: its games by name, how to act in it, and its own teacher."""

import importlib.util
import re
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from duomem_mlx.defaults import Defaults, Need
from duomem_mlx.environment import Game, Origin, Teacher
from duomem_mlx.errors import DuomemError, DuomemWarning, UsageError
from duomem_mlx.household import files, grammar, wording
from duomem_mlx.household.engine import FastGame
from duomem_mlx.household.foreign import fault_of
from duomem_mlx.household.logic import MOVE, Generation, generation_of
from duomem_mlx.household.reader import read_problem
from duomem_mlx.household.textworld_engine import INSTALL
from duomem_mlx.household.world import World
from duomem_mlx.trajectory import Trajectory

ENGINES = ("fast", "textworld")
GENERATED = "generated"
EMBEDDED = tuple(f"{GENERATED}:{seed}" for seed in range(900_000, 900_012))  # no other use of these seeds

INSTRUCTIONS = """\
You act in a household, one room, by text. You are told what you see and one task; carry it out in as few actions \
as you can. Every answer ends with one line "Action: " and one action in one of these forms:
- go to (place): for example go to countertop 1
- open (place), close (place): drawers, cabinets, fridges, microwaves and safes show what is in them once open
- take (thing) from (place)
- move (thing) to (place)
- clean (thing) with (sinkbasin)
- heat (thing) with (microwave)
- cool (thing) with (fridge)
- use (lamp)
- examine (place, or the thing you hold), look, inventory, help
Call things and places by the names you were given, number included. You must be at a place to use it, and you can \
hold one thing at a time. "Nothing happens." means that the action was not possible."""

ADVICE = (
    "Name kinds of things and places, never their numbers. Say where to look first, what has to be opened, and what to "
    "do when the thing is not in the likely place."
)

_FLOOR_PLAN = re.compile(r"-(\d+)/trial_")
_OLD_PUT = re.compile(r"put (?P<thing>.+?) (?:in/on|in|on|into|onto) (?P<place>.+)")


class HouseholdGame(Game, Protocol):
    """What both engines offer beyond the protocol of all games."""

    def valid_commands(self) -> list[str]:
        """What the world would accept now, sorted."""


class Household:
    """ALFWorld's text games and generated ones like them.

    A task's id is its path below ALFWorld's data folder, or `generated:SEED`: the same on every machine.
    """

    name = "household"
    splits = files.SPLITS
    origin = Origin(
        "ALFWorld",
        "https://github.com/alfworld/alfworld",
        "MIT",
        made_from="ALFRED",
        teacher="the search program of duomem-mlx (Apache-2.0), which reads only what the student reads; no language "
        "model",
    )
    instructions = INSTRUCTIONS
    advice = ADVICE
    defaults = Defaults(
        max_steps=30,  # the paper's
        adapter="smollm2-135m-alfworld",
        memories="alfworld-search",
        first="embedded",
        many=f"{GENERATED}:0:200",
    )

    def __init__(self, games_dir: Path | None = None, engine: str = "fast") -> None:
        """`games_dir`: ALFWorld's data folder; default `$ALFWORLD_DATA`, else `~/.cache/alfworld`.

        Raises UsageError for an unknown engine, and for one that is not installed.
        """
        if engine not in ENGINES:
            raise UsageError(f"There is no engine {engine!r}.", f"Choose one of {', '.join(ENGINES)}.")
        if engine == "textworld" and not _has_textworld():
            raise UsageError("The TextWorld engine is not installed.", f"{INSTALL}, or use --engine fast.")
        self.engine = engine
        self.root = files.data_folder(games_dir)
        self.parallel_safe = engine == "fast"  # TextWorld's translator redirects the process's standard output
        self._elsewhere: dict[str, Path] = {}  # games that do not lie below `root`

    def tasks(self, split: str) -> Sequence[str]:
        """Ids of a split, a folder, a game file, `generated:SEED[:COUNT]` or `embedded`.

        Raises UsageError that says what is wrong when there is nothing to play.
        """
        if split == "embedded":
            return EMBEDDED
        if split.partition(":")[0] == GENERATED:
            return _generated(split)
        folder = Path(split).expanduser()
        another = split == Path(split).name and (self.root / files.DATA_FOLDER / split).is_dir()
        if split in files.SPLITS or another:
            return list(files.find_games(self.root, split))
        if not folder.exists():
            raise UsageError(
                f"There are no games {split!r}.",
                f"Name a split ({', '.join(files.SPLITS)}), a folder, a game file, generated:SEED[:COUNT] or embedded.",
            )
        if folder.is_file() or (folder / files.GAME_FILE).is_file():
            return [self._remember(folder)]
        found = files.find_games_in(folder)
        self._elsewhere.update(found)
        return list(found)

    def open(self, task_id: str) -> HouseholdGame:
        """The game of an id; a path to a game file or its folder does as well.

        Raises UsageError when there is no such game, DuomemError when its file is not whole or not a household's.
        """
        if task_id.partition(":")[0] == GENERATED:
            return self._open_generated(task_id)
        task_id, folder = self.locate(task_id)
        split = task_id.partition("/")[0] if task_id.count("/") == 2 else ""
        return self._play(folder / files.GAME_FILE, task_id, split)

    def locate(self, task_id: str) -> tuple[str, Path]:
        """Id and folder of a game that lies on disk; a path to it does as well. Raises UsageError when there is no
        such game."""
        if (folder := self._folder(task_id)) is not None:
            return task_id, folder
        name = self._remember(Path(task_id).expanduser())
        return name, self._elsewhere[name]

    def kind(self, task_id: str) -> str:
        """The task type, for fair samples and tables alone; the agent never sees it."""
        if task_id.partition(":")[0] == GENERATED:
            from duomem_mlx.household.generator import kind_of_seed

            return kind_of_seed(_seed(task_id))
        return files.kind_of(self._folder(task_id) or self.root, task_id)

    def place(self, task_id: str) -> str:
        """The floor plan a game is played in, the number its task's folder ends with; a generated game is a place of
        its own."""
        found = _FLOOR_PLAN.search(task_id)
        return found[1] if found else task_id

    def refused(self, observation: str) -> bool:
        return observation.strip() == "Nothing happens."

    def normalise(self, action: str) -> str:
        """Old trajectories put things in/on places; games since ALFWorld 0.4 move them there."""
        put = _OLD_PUT.fullmatch(action)
        return f"move {put['thing']} to {put['place']}" if put else action

    def general(self, text: str) -> str:
        """What was done, without the numbers of things and places: other rooms have others."""
        return wording.general(text)

    def shorten(self, text: str) -> str:
        return wording.shorten(text)

    def commands(self, texts: Sequence[str]) -> list[str]:
        """What the grammar makes of the names in what was told so far, the opening first."""
        return grammar.commands(texts)

    def seen(self, texts: Sequence[str]) -> dict[str, list[str]]:
        """What lies where, as far as was told, the opening first; what is held stands under `in hand`."""
        from duomem_mlx.household.teacher.seen import Room

        room = Room(next(iter(texts), ""))
        for text in texts[1:]:
            room.read("", text)
        held = {"in hand": [room.held]} if room.held else {}
        return held | {place: sorted(things) for place, things in room.inside.items()}

    def teacher(self) -> Teacher:
        from duomem_mlx.household.teacher.search import SearchTeacher

        return cast(Teacher, SearchTeacher())

    def varied_teacher(self, seed: int) -> Teacher:
        """The teacher with habits of its own: where it looks first, which of several things and places it takes."""
        from duomem_mlx.household.teacher.search import Habits, SearchTeacher

        return cast(Teacher, SearchTeacher(habits=Habits(seed)))

    def cause(self, episode: Trajectory) -> str | None:
        """Why a game was not won; None where that cannot be said."""
        from duomem_mlx.household.causes import cause

        return cause(episode)

    def describe(self, trajectory: Trajectory) -> str:
        """A script of what was done, in roles instead of numbers."""
        from duomem_mlx.household.teacher.script import describe

        write: Callable[[Trajectory], str] = describe
        return write(trajectory)

    def needs(self) -> list[Need]:
        """ALFWorld's games, split by split."""
        from duomem_mlx.household.needs import needs

        return needs(self.root)

    def _folder(self, task_id: str) -> Path | None:
        if task_id in self._elsewhere:
            return self._elsewhere[task_id]
        folder = self.root / files.DATA_FOLDER / task_id
        inside = ".." not in task_id.split("/") and not task_id.startswith("/")
        return folder if inside and (folder / files.GAME_FILE).is_file() else None

    def _remember(self, path: Path) -> str:
        folder = path if path.is_dir() else path.parent
        if not (folder / files.GAME_FILE).is_file():
            raise UsageError(
                f"There is no game {str(path)!r}.",
                "Name a game's file, its folder, its id below the data folder, or generated:SEED.",
            )
        name = files.game_id(folder)
        self._elsewhere[name] = folder
        return name

    def _open_generated(self, task_id: str) -> HouseholdGame:
        from duomem_mlx.household.generator import generate

        (task_id,) = _generated(task_id)
        game = generate(_seed(task_id))
        if self.engine == "fast":
            return FastGame(read_problem(game.problem), MOVE, game.task_line, task_id, GENERATED)
        from duomem_mlx.household.textworld_engine import TextWorldGame, installed_rules

        domain, grammar = installed_rules()
        game_file = files.GameFile(domain, files.with_task(grammar, game.task_line), game.problem)
        return TextWorldGame(game_file, task_id, GENERATED)

    def _play(self, path: Path, task_id: str, split: str) -> HouseholdGame:
        if self.engine == "fast":
            stamp = path.stat()
            try:
                loaded = _load(path, stamp.st_mtime_ns, stamp.st_size)
            except _UnknownRules as unknown:
                game_file = unknown.game_file
                _tell_unknown_rules(game_file, task_id)
            else:
                return FastGame(loaded.world, loaded.rules, loaded.task_line, task_id, split)
        else:
            game_file = files.read_game_file(path)
        from duomem_mlx.household.textworld_engine import TextWorldGame

        return TextWorldGame(game_file, task_id, split)


class _Loaded(NamedTuple):
    world: World
    rules: Generation
    task_line: str


class _UnknownRules(Exception):
    def __init__(self, game_file: files.GameFile) -> None:
        self.game_file = game_file


@lru_cache(maxsize=4096)
def _load(path: Path, _modified_ns: int, _bytes: int) -> _Loaded:
    """What the fast engine plays. Some 30 kB a game are kept, so that one that is played by several arms, or searched,
    is read once."""
    game_file = files.read_game_file(path)
    rules = generation_of(game_file)
    if rules is None:
        raise _UnknownRules(game_file)
    return _Loaded(read_problem(game_file.problem), rules, game_file.plain_task_line)


def _tell_unknown_rules(game_file: files.GameFile, task_id: str) -> None:
    """Warn that TextWorld has to play; raises DuomemError where it could not, or should not be tried."""
    what = f"The fast engine does not know the rules (domain and grammar) of {task_id}"
    if (fault := fault_of(game_file)) is not None:
        raise DuomemError(f"{what}, and {fault}.", "Fetch or generate the game again.")
    if not _has_textworld():
        raise DuomemError(f"{what}.", f"To let TextWorld play it: {INSTALL}.")
    warnings.warn(f"{what}: TextWorld plays it, which is much slower.", DuomemWarning, stacklevel=3)


def _has_textworld() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("textworld", "alfworld"))


def household(games_dir: Path | None = None, engine: str = "fast") -> Household:
    """The factory behind `--env household`."""
    return Household(games_dir, engine)


def open_game(path_or_id: Path | str, engine: str = "fast", games_dir: Path | None = None) -> HouseholdGame:
    """A game by its file, its folder, its id below the data folder, or `generated:SEED`. Raises as
    `Household.open` does."""
    return Household(games_dir, engine).open(str(path_or_id))


def _seed(task_id: str) -> int:
    return int(task_id.split(":")[1])


def _generated(spec: str) -> list[str]:
    """Ids of `generated:SEED[:COUNT]`."""
    numbers = spec.split(":")[1:]
    if not 1 <= len(numbers) <= 2 or not all(re.fullmatch(r"[0-9]{1,7}", number) for number in numbers):
        raise UsageError(f"{spec!r} names no generated games.", "Write generated:SEED or generated:SEED:COUNT.")
    first, count = int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 1
    return [f"{GENERATED}:{seed}" for seed in range(first, first + count)]
