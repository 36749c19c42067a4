"""What a long job asks of the machine: that it stays awake, and room for games side by side."""

import os
import platform
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import output

if TYPE_CHECKING:
    from duomem_mlx.student.footprint import Footprint

KeepAwake = Annotated[
    bool, typer.Option("--keep-awake", help="macOS: no idle sleep meanwhile (caffeinate); a closed lid still sleeps.")
]
WIDTH = "batch_size"  # in a run's notes


def keep_awake(wanted: bool) -> None:
    """Hold the machine awake until this process ends, whichever way it ends. Where that cannot be done it is said."""
    if not wanted:
        return
    if platform.system() != "Darwin":
        output.say("--keep-awake does nothing here: it is for macOS.")
        return
    try:
        subprocess.Popen(["caffeinate", "-i", "-w", str(os.getpid())], stdin=subprocess.DEVNULL)
    except OSError as error:
        output.say(f"The machine cannot be kept awake ({error}); the job goes on.")


def notes() -> dict[str, Any]:
    """What is kept with a run that begins, though another machine may go on with it."""
    from duomem_mlx.student.machine import power_source

    return {"power": power_source()}


def footprint_of(model: str | None) -> "Footprint":
    """What the student takes of memory; its weights are not read. Raises as `student_folder` does."""
    from duomem_mlx.paths import read_json
    from duomem_mlx.student.footprint import footprint
    from duomem_mlx.student.models import default_dtype, student_folder

    folder = student_folder(model)
    return footprint(folder, read_json(folder / "config.json", "model configuration"), default_dtype())


def games_together(
    asked: int | None, ram: str | None, noted: Mapping[str, Any], takes: "Footprint", context: int
) -> int:
    """How many games, each with a history of `context` tokens at most, are played side by side: what is asked for,
    else what the run began with, else what the budget, or the machine, has room for. Raises DuomemError when `ram`
    does not hold one."""
    from duomem_mlx.errors import DuomemError
    from duomem_mlx.student.machine import size_in_bytes, usable_bytes

    budget = size_in_bytes(ram) if ram else usable_bytes()
    if asked is not None:
        return asked
    if isinstance(kept := noted.get(WIDTH), int):
        return kept
    context = min(context, takes.context or context)
    if width := takes.width(budget, context):
        return width
    needed = f"the student and one game of {context} tokens may take {takes.of_games(1, context) / 2**30:.1f} GB"
    if ram:
        raise DuomemError(
            f"--ram {ram} is too little: {needed}.", "Give it more, or pack the model with `duomem-mlx models convert`."
        )
    output.say(f"Careful: {budget / 2**30:.1f} GB are free and {needed}; games are played one by one.")
    return 1
