"""`duomem-mlx train --on-policy`: what the rounds are handed, and how they are told."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import output
from duomem_mlx.cli.lessons import group_of

if TYPE_CHECKING:
    from duomem_mlx.environment import Environment
    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.paths import RunFolder
    from duomem_mlx.student.models import Student
    from duomem_mlx.training.fit import Prepared
    from duomem_mlx.training.on_policy import Recall, Rounds
    from duomem_mlx.training.settings import TrainSettings
    from duomem_mlx.trajectory import Trajectory


OnPolicy = Annotated[
    int,
    typer.Option(
        "--on-policy",
        min=0,
        metavar="ROUNDS",
        help="Rounds after imitation in which the student plays and the environment's teacher corrects it.",
    ),
]
OnPolicyGames = Annotated[
    int | None, typer.Option("--on-policy-games", min=1, metavar="N", help="Games a round [default: 200].")
]
FOLDER = "rounds"  # in the run's folder


def is_finished(path: Path, rounds: "Rounds | None") -> bool:
    """Whether a run of so many rounds is done with; without rounds, whether imitation is."""
    from duomem_mlx.training.fit import is_finished as finished

    return finished(path) and (rounds is None or finished(path / FOLDER / str(rounds.rounds)))


def imitation(folder: "RunFolder") -> "RunFolder":
    """Where the first of a run with rounds is trained."""
    return replace(folder, path=folder.path / FOLDER / "0")


def chosen_rounds(rounds: int, games: int | None, environment: "Environment") -> "Rounds | None":
    """The rounds a call asks for. Raises UsageError where nobody could look on, or games are named and no rounds."""
    from duomem_mlx.defaults import defaults_of
    from duomem_mlx.errors import UsageError
    from duomem_mlx.training.on_policy import Rounds

    if not rounds and games is not None:
        raise UsageError("--on-policy-games is for on-policy rounds.", "Add --on-policy ROUNDS.")
    if rounds and getattr(environment, "teacher", None) is None:
        raise UsageError(
            f"--on-policy needs a teacher that says what it would have done, and {environment.name} has none.",
            "Give the environment a teacher(), see docs/architecture.md, or leave the option out.",
        )
    given: dict[str, Any] = {} if games is None else {"games": games}
    return Rounds(rounds, max_steps=defaults_of(environment).max_steps, **given) if rounds else None


def train_rounds(
    folder: "RunFolder",
    model: str | None,
    environment: "Environment",
    bank: "Bank | None",
    settings: "TrainSettings",
    rounds: "Rounds",
    games: "list[str]",
    until: float,
) -> None:
    """All rounds that are left after imitation, as far as time goes, told as they go."""
    from duomem_mlx.cli.training import train_in
    from duomem_mlx.own_teacher import teacher_of
    from duomem_mlx.paths import RunFolder
    from duomem_mlx.student.agent import writer_for
    from duomem_mlx.student.models import load_student
    from duomem_mlx.training.fit import OUTPUTS
    from duomem_mlx.training.on_policy import Course, go_round

    course = Course(
        environment,
        lambda: teacher_of(environment),
        lambda student: writer_for(student, environment, settings.prompt_style),
        settings,
        rounds,
        None if bank is None else recall_from(bank, settings.k),
    )

    def load(adapter: Path) -> "Student":
        return load_student(model, adapter=adapter)

    def fit(here: Path, student: "Student", prepared: "Prepared", now: "TrainSettings") -> None:
        train_in(RunFolder(here, {}, OUTPUTS, begun=True), student, prepared, now, until)

    each = min(rounds.games, len(games))
    with output.progress("Playing", rounds.rounds * each) as advance:

        def watch(number: int, played: int) -> None:
            advance((number - 1) * each + played, f"round {number} of {rounds.rounds}")

        go_round(folder.path, games, course, load, fit, watch, until)


def recall_from(bank: "Bank", k: int) -> "Recall":
    """What the bank shows for a game, never a memory of the game itself."""
    from duomem_mlx.student.agent import examples

    return lambda task, opening, game: examples(bank.search(bank.question(task, opening), k, exclude_game=game))


def games_to_play(trajectories: "list[Trajectory]", settings: "TrainSettings", environment: "Environment") -> list[str]:
    """The games that were trained on, none of a place that is held out."""
    from duomem_mlx.training.on_policy import games_of
    from duomem_mlx.training.rows import split_held_out

    trained, _ = split_held_out(trajectories, settings.held_out, lambda t: group_of(environment, t), settings.seed)
    return games_of(trained)
