"""Cached trajectories of others: each is played again in its own game, and kept when it really wins."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from duomem_mlx.environment import Environment
from duomem_mlx.guarded import open_game
from duomem_mlx.offers import WorldBroke, normalise_of
from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.scripted import ScriptedTeacher
from duomem_mlx.teachers.transcripts import (
    NO_ACTION,
    Said,
    Transcript,
    Turn,
    first_line,
    read_transcripts,
    task_told,
    turns_of,
)
from duomem_mlx.trajectory import Step, Trajectory

NO_GAME = "its game is not at hand"
NOT_WON = "does not win when it is played again"
BROKEN = "its game breaks off"
TWICE = "is there twice"
NO_TASK = "does not say its task"


@dataclass(frozen=True)
class Imported:
    """What came of files of others: what was kept, and why the rest was not, each reason with its count."""

    trajectories: tuple[Trajectory, ...]
    left_out: Mapping[str, int]

    @property
    def came_in(self) -> int:
        return len(self.trajectories) + sum(self.left_out.values())


class GamesAtHand:
    """Finding the game that a record was played in: by what the record calls it, else by its task and opening."""

    def __init__(
        self, environment: Environment, tasks: Sequence[str], advance: Callable[[int], object] = lambda done: None
    ) -> None:
        """`tasks`: ids of the games to search in; `advance` is told how many were looked at, when that is done."""
        self.environment = environment
        self._tasks = tasks
        self._advance = advance
        self._by_end: dict[str, list[str]] = defaultdict(list)  # last part of an id -> ids
        for task_id in tasks:
            self._by_end[task_id.rpartition("/")[2]].append(task_id)
        self._by_task: dict[str, list[tuple[str, str]]] | None = None  # task -> (id, opening)

    def candidates(self, transcript: Transcript) -> Iterator[str]:
        """Ids of games that it may have been played in, the likeliest first, each once."""
        given = set[str]()
        for name in [*self._named(transcript.names), *self._searched(transcript.said)]:
            if name not in given:
                given.add(name)
                yield name

    def _named(self, names: Sequence[str]) -> Iterator[str]:
        for name in names:
            parts = [part for part in name.replace("\\", "/").split("/") if part]
            if not parts or any(part in (".", "..") or part[0] == "~" or len(part) > 255 for part in parts):
                continue
            if not name.isprintable():
                continue
            for path in (parts, parts[:-1]):  # to a file in the game's folder, or to that folder
                if path:
                    yield from (id_ for id_ in self._by_end.get(path[-1], ()) if _same_end(id_.split("/"), path))
                    tails = ("/".join(path[start:]) for start in range(len(path)))
                    yield from (tail for tail in tails if self._opens(tail))

    def _opens(self, task_id: str) -> bool:
        try:
            self.environment.open(task_id)
        except Exception:  # a user's world may raise anything for an id that is none
            return False
        return True

    def _searched(self, said: Sequence[Said]) -> Iterator[str]:
        if self._by_task is None:
            self._by_task = self._look_at_all()
        texts = [_words(one.text) for one in said if not one.by_agent]
        whole = "\n".join(texts)
        told = [task for task in self._by_task if task in whole]
        for task in sorted(told, key=len, reverse=True):
            games = self._by_task[task]
            exact = [id_ for id_, opening in games if any(opening in text for text in texts)]
            # Others may have told the same things in another order.
            words = [set(text.split()) for text in texts if task in text]
            alike = [id_ for id_, opening in games if any(set(opening.split()) <= found for found in words)]
            yield from [*exact, *alike]

    def _look_at_all(self) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for number, task_id in enumerate(self._tasks, 1):
            game = open_game(self.environment, task_id)
            with suppress(WorldBroke):  # one that cannot be begun is nobody's game
                found[_words(game.task)].append((task_id, _body(game.reset(), game.task)))
            self._advance(number)
        return dict(found)


def import_transcripts(
    files: Sequence[Path],
    games: GamesAtHand,
    form: str | None = None,
    unchecked: bool = False,
    advance: Callable[[int, int], object] = lambda came_in, kept: None,
) -> Imported:
    """Read and play again all games of `files`; `form` is as in `read_transcripts`.

    unchecked: keep also those whose game is not at hand, as they were told. `advance` is told after every game how
    many came in and were kept. Raises UsageError when a file cannot be read or there is no such format.
    """
    left_out = Counter[str]()
    kept: dict[str, Trajectory] = {}
    for file in files:
        for transcript in read_transcripts(file, form, left_out):
            found = replayed(transcript, games)
            if found == NO_GAME and unchecked:
                found = as_told(transcript, games.environment)
            if isinstance(found, str):
                left_out[found] += 1
            elif found.id in kept:
                left_out[TWICE] += 1
            else:
                kept[found.id] = found
            advance(len(kept) + sum(left_out.values()), len(kept))
    return Imported(tuple(kept.values()), dict(left_out.most_common()))


def replayed(transcript: Transcript, games: GamesAtHand) -> Trajectory | str:
    """The trajectory that wins when the record's actions are played in its game, or why there is none."""
    reason = NO_GAME
    for game in games.candidates(transcript):
        try:
            world = open_game(games.environment, game)
            turns = turns_of(_from_opening(transcript.said, world.task, world.reset()))
            ends = set[str]()
            for actions in _spellings(games.environment, turns):
                played = attempt(
                    games.environment, game, ScriptedTeacher(actions), _teacher(transcript, True), len(actions)
                )
                if played.won:
                    return _with_thoughts(played, turns)
                ends.add(played.end)
            reason = (BROKEN if "environment" in ends else NOT_WON) if turns else NO_ACTION
        except Exception:  # a user's world may raise anything; the other records must go on
            reason = BROKEN
    return reason


def as_told(transcript: Transcript, environment: Environment) -> Trajectory | str:
    """The trajectory as it stands in the record, taken for a success, or why it cannot be one."""
    start = next((i for i, one in enumerate(transcript.said) if not one.by_agent and task_told(one.text)), None)
    if start is None:
        return NO_TASK
    opening = transcript.said[start].text.strip()
    turns = turns_of(transcript.said[start:])
    if not turns:
        return NO_ACTION
    normalise = normalise_of(environment)
    try:
        steps = tuple(Step(normalise(turn.action), turn.observation, turn.thought) for turn in turns)
    except WorldBroke:
        return BROKEN
    return Trajectory(
        environment=environment.name,
        game=transcript.names[0] if transcript.names else "",
        split="",
        kind="",
        task=task_told(opening) or "",
        opening=opening,
        steps=steps,
        won=True,
        score=1.0,
        end="won",
        teacher=_teacher(transcript, False),
        seconds=0.0,
    )


def _from_opening(said: Sequence[Said], task: str, opening: str) -> Sequence[Said]:
    """From the text on that opens the game: the first that holds its opening, else the first that tells its task,
    else all. Examples of other games may stand before it."""
    worlds = [(i, _words(one.text)) for i, one in enumerate(said) if not one.by_agent]
    for sign in (_body(opening, task), _words(task)):
        for i, text in worlds:
            if sign and sign in text:
                return said[i:]
    return said


def _spellings(environment: Environment, turns: Sequence[Turn]) -> Iterator[tuple[str, ...]]:
    """The actions in the world's words of today, then as they were written, for a game as old as they are; then their
    first lines alone."""
    normalise = normalise_of(environment)
    written = tuple(turn.action for turn in turns)
    firsts = tuple(map(first_line, written))
    for actions in (written, firsts) if firsts != written else (written,):
        today = tuple(map(normalise, actions))
        yield today
        if today != actions:
            yield actions


def _with_thoughts(played: Trajectory, turns: Sequence[Turn]) -> Trajectory:
    steps = [replace(step, thought=turn.thought) for step, turn in zip(played.steps, turns, strict=False)]
    return replace(played, steps=tuple(steps))


def _teacher(transcript: Transcript, replayed: bool) -> dict[str, Any]:
    model = {"model": transcript.model} if transcript.model else {}
    return {"kind": "imported", **model, "format": transcript.format, "replayed": replayed}


def _same_end(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the shorter of two paths ends the longer one."""
    parts = min(len(one), len(other))
    return one[-parts:] == other[-parts:]


def _words(text: str) -> str:
    return " ".join(text.lower().split())


def _body(opening: str, task: str) -> str:
    """What an opening tells besides its task and beyond its first line, which may be a banner that others drop."""
    lines = [line for line in opening.splitlines() if line.strip()]
    told = [_words(line) for line in lines[1 if len(lines) > 2 else 0 :]]
    return " ".join(line for line in told if _words(task) not in line)
