"""Game files as ALFWorld keeps them: where they lie, what they are called, which of them can be played."""

import json
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem_mlx.errors import DuomemError, DuomemWarning, UsageError

GAME_FILE = "game.tw-pddl"
TASK_FILE = "traj_data.json"
DATA_FOLDER = "json_2.1.1"
EXPECTED = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}  # games that ALFWorld plays
SPLITS = tuple(EXPECTED)
KINDS = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
LARGEST_BYTES = 4 << 20  # ALFWorld's are about 80 KB
LONGEST_TASK = 500  # characters; ALFWorld's longest has some 70

_TASK = re.compile(r'"rhs"\s*:\s*(?P<text>"Your task is to: (?:[^"\\\n]|\\.)*")')
_FETCH = "Fetch them with `duomem-mlx games fetch`, or name their folder with --games-dir."
_NO_TASK = "Your task is to: UNKNOWN GOAL."


@dataclass(frozen=True)
class GameFile:
    """What one `game.tw-pddl` holds."""

    domain: str
    grammar: str
    problem: str

    @property
    def task_line(self) -> str:
        """ "Your task is to: …." as the opening ends. Raises DuomemError when the grammar names none."""
        found = _TASK.search(self.grammar)
        try:
            line: str = json.loads(found["text"], strict=False) if found else ""
        except ValueError:  # an escape that is none
            line = ""
        if not line:
            raise DuomemError("The game's grammar names no task.", "Fetch or generate the game again.")
        return line

    @property
    def plain_task_line(self) -> str:
        """The same. Raises DuomemError when it holds signs that TextWorld's grammar reads as more than text."""
        line = self.task_line
        if len(line) > LONGEST_TASK or not line.isprintable():
            raise DuomemError("The game's task is no sentence.", "Fetch or generate the game again.")
        if any(sign in line for sign in ';|"<>[]{}#\\'):
            raise DuomemError("The game's task holds signs that are no plain text.", "Play it with --engine textworld.")
        return line


def with_task(grammar: str, task_line: str) -> str:
    """A grammar that names no task yet, with one."""
    return grammar.replace(_NO_TASK, json.dumps(task_line)[1:-1])


def task_of_line(line: str) -> str:
    """The task alone, without the words before it and the stop after it."""
    return line.removeprefix("Your task is to: ").removesuffix(".")


def without_task(grammar: str) -> str:
    """The grammar with its task line emptied: the same text for all games of a generation."""
    return _TASK.sub('"rhs": "Your task is to: "', grammar, count=1)


def read_game_file(path: Path) -> GameFile:
    """Read a `game.tw-pddl`. Raises UsageError when it is not there, DuomemError when it is not a whole game."""
    again = "Fetch or generate the game again."
    try:
        if path.is_fifo():
            raise DuomemError(f"The game {path} is a pipe, which could keep one waiting.", again)
        with path.open("rb") as file:
            data = file.read(min(os.fstat(file.fileno()).st_size, LARGEST_BYTES) + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"There is no game at {path}.", "Check the path.") from None
    except (OSError, ValueError) as error:
        raise DuomemError(f"The game {path} cannot be read: {error}.") from None
    if len(data) > LARGEST_BYTES:
        raise DuomemError(f"The game {path} is larger than {LARGEST_BYTES >> 20} MiB.", "It is no household game.")
    try:
        record: Any = json.loads(data)
    except (ValueError, RecursionError):
        problem = "is empty" if not data.strip() else "is not whole JSON"
        raise DuomemError(f"The game {path} {problem}.", again) from None
    texts = [record.get(key) for key in ("pddl_domain", "grammar", "pddl_problem")] if isinstance(record, dict) else []
    match texts:
        case [str(domain), str(grammar), str(problem)]:
            return GameFile(domain, grammar, problem)
    raise DuomemError(f"The game {path} lacks pddl_domain, grammar or pddl_problem.", again)


def data_folder(games_dir: Path | None = None) -> Path:
    """The folder that holds `json_2.1.1`: the one named, else `$ALFWORLD_DATA`, else `~/.cache/alfworld`."""
    root = games_dir or Path(os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld")
    root = root.expanduser()
    return root.parent if root.name == DATA_FOLDER else root


def game_id(folder: Path) -> str:
    """A name that is the same on every machine: the path below `json_2.1.1`, else from the split's folder on, else
    the last two folders (task and trial)."""
    parts = folder.resolve().parts
    if DATA_FOLDER in parts:
        below = parts[len(parts) - parts[::-1].index(DATA_FOLDER) :]
        if below:
            return "/".join(below)
    for place in range(len(parts) - 1, 0, -1):
        if parts[place] in SPLITS:
            return "/".join(parts[place:])
    return "/".join(parts[-2:]).strip("/")


def kind_of(folder: Path, name: str) -> str:
    """The task type that the task's folder is named after, else the one in `traj_data.json`, else ""."""
    for part in name.split("/"):
        if (kind := part.partition("-")[0]) in KINDS:
            return kind
    try:
        kind = json.loads((folder / TASK_FILE).read_text(encoding="utf-8"))["task_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return kind if kind in KINDS else ""


@dataclass(frozen=True)
class Survey:
    """What lies in a folder of games, by ALFWorld's own rules of what is playable."""

    folder: Path
    playable: dict[str, Path]  # id -> the game's folder, sorted by id
    missing: int  # task folders without a game file
    torn: int  # files that end in the middle
    stale: int  # files without the key `solvable`, which ALFWorld skips
    unsolvable: int
    unsupported: int  # movable receptacles, sliced objects, other task types

    @property
    def trouble(self) -> str:
        """What is wrong with the folder, in words; "" when nothing is."""
        if len(self.playable) == EXPECTED.get(self.folder.name):
            return ""  # ALFWorld itself has no game file for many of its tasks
        counts = (
            (self.missing, f"without {GAME_FILE}: the download stopped halfway"),
            (self.torn, "torn"),
            (self.stale, "rewritten without the key `solvable`, as alfworld-play-tw leaves them"),
        )
        return ", ".join(f"{count} {what}" for count, what in counts if count)


def survey(folder: Path) -> Survey:
    """Look through a folder of games, at any depth."""
    playable: dict[str, Path] = {}
    counts = {"missing": 0, "torn": 0, "stale": 0, "unsolvable": 0, "unsupported": 0}
    for place in _task_folders(folder):
        name = game_id(place)
        state = _state(place, name)
        if state == "playable":
            playable[name] = place
        else:
            counts[state] += 1
    return Survey(folder, dict(sorted(playable.items())), **counts)


def _task_folders(folder: Path) -> Iterator[Path]:
    for root, _, files in os.walk(folder):
        if TASK_FILE in files:
            yield Path(root)


def _state(folder: Path, name: str) -> str:
    if "movable" in name or "Sliced" in name or not kind_of(folder, name):
        return "unsupported"
    end = _end(folder / GAME_FILE)
    if end is None:
        return "missing"
    _, key, value = end.rpartition(b'"solvable"')
    if not end.rstrip().endswith(b"}"):
        return "torn"
    if not key:
        return "stale"
    return "playable" if value.lstrip(b" \t\r\n:").startswith(b"true") else "unsolvable"


def is_whole(folder: Path) -> bool:
    """Whether the folder's game file is there to its end, solvable or not."""
    end = _end(folder / GAME_FILE)
    return end is not None and b'"solvable"' in end and end.rstrip().endswith(b"}")


def _end(path: Path) -> bytes | None:
    """A game file's end, with the key `solvable` where there is one; None when there is no such file."""
    if not path.is_file():  # a pipe would keep one waiting
        return None
    try:
        with path.open("rb") as file:
            # The key comes last in ALFWorld's files; inside a string its quotes would be escaped.
            file.seek(max(0, os.fstat(file.fileno()).st_size - 64))
            data = file.read()
            if b'"solvable"' not in data:
                file.seek(0)
                data = file.read(LARGEST_BYTES)
            return data
    except OSError:
        return None


def find_games(root: Path, split: str) -> dict[str, Path]:
    """The playable games of a split below the data folder `root`. Warns when some are missing; raises UsageError that
    says what is wrong when all are."""
    folder = root / DATA_FOLDER / split
    if not folder.is_dir():
        raise UsageError(f"There are no {split} games at {folder}.", _FETCH)
    found = survey(folder)
    games = _some(found)
    if len(games) < EXPECTED.get(split, 0):
        what = f"{folder} holds {len(games)} of ALFWorld's {EXPECTED[split]} games"
        why = f" ({found.trouble})" if found.trouble else ""
        warnings.warn(f"{what}{why}. Get the others with `duomem-mlx games fetch`.", DuomemWarning, stacklevel=2)
    return games


def find_games_in(folder: Path) -> dict[str, Path]:
    """The playable games anywhere below a folder. Raises UsageError as `find_games` does."""
    return _some(survey(folder))


def _some(found: Survey) -> dict[str, Path]:
    if not found.playable:
        what = found.trouble or "none of them playable" if found.unsupported + found.unsolvable else found.trouble
        reason = f" ({what})" if what else ""
        raise UsageError(f"{found.folder} holds no games that can be played{reason}.", _FETCH)
    return found.playable
