"""On-policy rounds: the student plays training games, a teacher who reads what it reads says what it would have done,
and the next round trains on that (DAgger: S. Ross, G. Gordon and D. Bagnell, 2011).

One row holds a whole game: the student's own words stand in the text, since those are the states it must learn to act
in. Where the teacher would have done the same, they are trained as they are; where not, the one token at which the
teacher's action parts from them. Soon after things go wrong the teacher takes over, and how it gets out of there, to
the end, is trained in full. So a game costs one pass whatever the number of mistakes in it.
"""

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duomem_mlx.environment import Environment, Teacher, parallel_safe, stratified
from duomem_mlx.errors import UsageError
from duomem_mlx.guarded import open_game
from duomem_mlx.offers import WorldBroke, refused_by
from duomem_mlx.paths import RunFolder, append_json, mend_tail, replacing, write_text
from duomem_mlx.prompt import Example
from duomem_mlx.student.adapters import CONFIG, RECORD, WEIGHTS
from duomem_mlx.student.episodes import Entry, PlaySettings, play
from duomem_mlx.student.models import Student
from duomem_mlx.student.transcript import Writer
from duomem_mlx.training.coached import Coached, parted
from duomem_mlx.training.fit import OUTPUTS, Prepared, is_finished, teachers_of
from duomem_mlx.training.rows import make_epoch, memory_count
from duomem_mlx.training.settings import TrainSettings
from duomem_mlx.trajectory import Trajectory, read_trajectories, to_record

FOLDER = "rounds"  # in a run's folder; rounds/0 is imitation
PLAYED = "trajectories.jsonl"

Recall = Callable[[str, str, str], Sequence[Example]]  # (task, opening, game) -> its memories, best first
Watch = Callable[[int, int], None]  # (round, games played in it)
Fit = Callable[[Path, Student, Prepared, TrainSettings], object]  # trains the student, leaves its adapter in the folder


@dataclass(frozen=True)
class Rounds:
    """What decides the rounds after imitation, beside the settings of training."""

    rounds: int
    games: int = 200  # a round
    max_steps: int = 30  # actions a game, of which the student makes at most half
    refusals: int = 3  # refused actions after which the teacher takes over: 1 to so many, drawn for each game
    width: int = 32  # games played together
    rate: float = 0.5  # highest learning rate of a round, as a share of the settings' own

    def __post_init__(self) -> None:
        for name in ("rounds", "games", "refusals", "width"):
            if getattr(self, name) < 1:
                raise UsageError(f"On-policy {name} is {getattr(self, name)}.", "It must be at least 1.")
        if self.max_steps < 2:
            raise UsageError(f"On-policy max_steps is {self.max_steps}.", "It must be at least 2.")


@dataclass(frozen=True)
class Course:
    """What the rounds are played and trained with, whatever their number."""

    environment: Environment
    teacher: Callable[[], Teacher]
    writer: Callable[[Student], Writer]
    settings: TrainSettings
    rounds: Rounds
    recall: Recall | None = None


def games_of(trajectories: Sequence[Trajectory]) -> list[str]:
    """The games of the trajectories, each once, in an order in which every stretch is a fair sample."""
    return stratified({trajectory.game: trajectory.kind for trajectory in trajectories}.items())


def games_in(number: int, games: Sequence[str], each: int) -> list[str]:
    """Those of round `number` (from 1): every game once before any comes again."""
    begin = (number - 1) * each
    return [games[i % len(games)] for i in range(begin, begin + min(each, len(games)))]


def go_round(
    folder: Path,
    games: Sequence[str],
    course: Course,
    load: Callable[[Path], Student],
    fit: Fit,
    watch: Watch = lambda number, played: None,
    until: float = math.inf,
) -> None:
    """Play and train every round that is left, going on from the adapter in `folder`/rounds/0, and put the last one's
    adapter into `folder`. `load` gives the student with the adapter of a folder.

    A round that was stopped goes on: games on disk are not played again, and training resumes. Each round begins from
    files alone, so a run that was stopped ends with the same bytes. After `until` (`time.monotonic`) nothing more is
    begun, and the adapter in `folder` is the newest there is.
    """
    places = [folder / FOLDER / str(number) for number in range(course.rounds.rounds + 1)]
    for place in places:
        RunFolder(place, {}, (*OUTPUTS, PLAYED), begun=True).claim()  # clears what a kill tore
    for number in range(1, len(places)):
        before, here = places[number - 1], places[number]
        if not is_finished(before):
            break  # its time was up
        if is_finished(here):
            continue
        student = load(before)
        for played in play_round(here / PLAYED, number, games_in(number, games, course.rounds.games), student, course):
            watch(number, played)
            if time.monotonic() > until:
                break
        else:
            played_games = list(read_trajectories(here / PLAYED))
            prepared = lessons(played_games, number, course.writer(student), course)
            if prepared is None:
                copy_adapter(before, here)
            else:
                rate = course.settings.learning_rate * course.rounds.rate
                fit(here, student, prepared, replace(course.settings, learning_rate=rate, epochs=1, iters=None))
    newest = max(number for number, place in enumerate(places) if (place / RECORD).is_file())
    copy_adapter(places[newest], folder)


def lessons(played: Sequence[Trajectory], number: int, writer: Writer, course: Course) -> Prepared | None:
    """Rows of all games that were won in the end; None where student and teacher parted in none of them.

    A game that the student played as the teacher would have teaches nothing new, and stays all the same: it holds the
    student to what it does right. Trained on the others alone, it parted from the teacher in 190 of the 400 games of
    the next round where it had in 83 (docs/log.md)."""
    chosen = [trajectory for trajectory in played if trajectory.won]
    if not any(map(parted, chosen)):
        return None
    recall = course.recall
    epoch = make_epoch(
        chosen,
        writer,
        max_tokens=course.settings.max_seq_length,
        examples=None if recall is None else lambda t, n: recall(t.task, t.opening, t.game)[:n],
        k=course.settings.k,
        seed=course.settings.seed,
        epoch=number,
        refused=refused_by(course.environment),
        drawn_by=lambda trajectory: trajectory.game,
    )
    return Prepared((epoch,), (), len(chosen), 0, teachers_of(chosen))


def play_round(file: Path, number: int, games: Sequence[str], student: Student, course: Course) -> Iterator[int]:
    """Play what is not in `file` yet, and yield how many games are in it, first and after every addition.

    Games are played and written in groups of the rounds' width, each together and none of it without the others: what
    a student says can hang, in the last bit, on which games it plays at the same time.
    """
    width = course.rounds.width
    mend_tail(file)
    there = list(read_trajectories(file)) if file.is_file() and file.stat().st_size else []
    whole = len(there) if len(there) == len(games) else len(there) // width * width
    if whole < len(there):
        write_text(file, "".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:whole]))
    yield whole
    for begin in range(whole, len(games), width):
        group = games[begin : begin + width]
        append_json(file, map(to_record, _play_together(group, number, student, course)))
        yield begin + len(group)


def _play_together(games: Sequence[str], number: int, student: Student, course: Course) -> list[Trajectory]:
    """The games as the student began and the teacher finished them, in their order."""
    environment, rounds, seed = course.environment, course.rounds, course.settings.seed
    refused = refused_by(environment)
    coached: dict[str, Coached] = {}

    def entries() -> Iterator[Entry]:
        for name in games:  # each is opened when there is a seat for it: some worlds bear one open game at a time
            patience = 1 + _draw(seed, number, name) % rounds.refusals
            coached[name] = Coached(open_game(environment, name), course.teacher(), refused, patience)
            yield Entry(name, coached[name], shown(name, coached[name]))

    def shown(name: str, game: Coached) -> Sequence[Example]:
        count = memory_count(seed, name, number, course.settings.k)
        try:
            return course.recall(game.task, game.reset(), name)[:count] if course.recall and count else ()
        except WorldBroke:  # it is told when the game is begun
            return ()

    together = parallel_safe(environment)
    settings = PlaySettings(max_steps=rounds.max_steps // 2, width=rounds.width if together else 1)
    seconds = dict.fromkeys(games, 0.0)
    for turn in play(student, course.writer(student), entries(), settings, refused):
        coached[turn.key].hear(turn)
        seconds[turn.key] += turn.seconds
        if turn.end is not None:
            coached[turn.key].finish(rounds.max_steps)
    return [coached[game].trajectory(environment, student.name, seconds[game]) for game in games]


def _draw(seed: int, number: int, game: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}:{game}:patience".encode()).digest()[:8], "big")


def copy_adapter(before: Path, after: Path) -> None:
    """The adapter in a folder, into another."""
    for name in (CONFIG, WEIGHTS, RECORD):  # the record last: where it is, all are
        with replacing(after / name) as part:
            shutil.copyfile(before / name, part)
