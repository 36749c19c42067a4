"""The stages of a training run in a row: rows from trajectories, LoRA on a student, the loop, the adapter folder."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from duomem_mlx import __version__
from duomem_mlx.errors import UsageError
from duomem_mlx.paths import digest
from duomem_mlx.student.adapters import CONFIG, RECORD, WEIGHTS, taught_by
from duomem_mlx.student.models import Student, base_fingerprint
from duomem_mlx.student.serve.prompts import ChatPrompts
from duomem_mlx.student.transcript import Writer
from duomem_mlx.training import checkpoint, loop, lora, probe
from duomem_mlx.training.budget import Means
from duomem_mlx.training.loop import Outcome, Report
from duomem_mlx.training.ranks import here
from duomem_mlx.training.rows import Epoch, Examples, Refused, Row, digest_rows, make_epoch, split_held_out
from duomem_mlx.training.settings import TrainSettings
from duomem_mlx.training.talks import make_talks
from duomem_mlx.trajectory import Trajectory

OUTPUTS = (CONFIG, WEIGHTS, RECORD, loop.METRICS, checkpoint.NAME)  # what a run leaves in its folder
MOST_PASSES = 1000  # over the trajectories, each with rows of its own


@dataclass(frozen=True)
class Prepared:
    """All that is trained on, pass by pass, and what is validated on."""

    epochs: tuple[Epoch, ...]
    held_out: tuple[Row, ...]
    trajectories: int  # trained on
    held_out_trajectories: int
    teachers: tuple[str, ...] = ()  # who taught what is trained on, sorted

    def tokens(self, settings: TrainSettings) -> int:
        """Of all rows of all steps."""
        return sum(len(row.tokens) for rows in loop.plan_steps(self.epochs, settings) for row in rows)

    def rows(self) -> list[Row]:
        """All there are."""
        return [*(row for epoch in self.epochs for row in epoch.rows), *self.held_out]


def prepare(
    trajectories: Sequence[Trajectory],
    writer: Writer | ChatPrompts,
    settings: TrainSettings,
    examples: Examples | None = None,
    refused: Refused | None = None,
    group: Callable[[Trajectory], Any] = lambda trajectory: trajectory.game,
) -> Prepared:
    """Rows for every pass that the settings ask for; see `rows.make_epoch`, and for runs with tools, which are written
    as they are served, `talks.make_talks`. Trajectories of one `group` are held out together or not at all. Raises
    UsageError when there are none to train on, nothing in them that is trained, or more passes than MOST_PASSES."""
    if not trajectories:
        raise UsageError("There are no trajectories to train on.", "Make some with `duomem-mlx teach`.")
    training, validating = split_held_out(trajectories, settings.held_out, group, settings.seed)
    passes = settings.epochs
    if settings.iters is not None:
        passes = math.ceil(settings.iters / math.ceil(len(training) / settings.batch_size))
    if passes > MOST_PASSES:
        raise UsageError(
            f"That is {passes:,} passes over {len(training)} trajectories; rows are made for {MOST_PASSES:,} at most.",
            "Lower --iters or --epochs.",
        )

    def rows_of(chosen: Sequence[Trajectory], number: int) -> Epoch:
        if isinstance(writer, ChatPrompts):
            return make_talks(
                chosen,
                writer,
                max_tokens=settings.max_seq_length,
                examples=examples,
                k=settings.k,
                seed=settings.seed,
                epoch=number,
            )
        return make_epoch(
            chosen,
            writer,
            max_tokens=settings.max_seq_length,
            examples=examples,
            k=settings.k,
            seed=settings.seed,
            epoch=number,
            refused=refused,
        )

    epochs = tuple(rows_of(training, number) for number in range(passes))
    if not all(epoch.rows for epoch in epochs):
        raise UsageError(
            f"There is no answer to learn in what was played ({len(training)} trajectories): what is said in words "
            "that read as a call is not trained.",
            "Record runs in which tools are called.",
        )
    return Prepared(
        epochs=epochs,
        held_out=rows_of(validating, 0).rows,
        trajectories=len(training),
        held_out_trajectories=len(validating),
        teachers=teachers_of(training),
    )


def teachers_of(trajectories: Sequence[Trajectory]) -> tuple[str, ...]:
    return tuple(sorted({trajectory.taught_by for trajectory in trajectories}))


def add_adapter_layers(student: Student, settings: TrainSettings) -> dict[str, Any]:
    """The layers to train in the student's model, those of its adapter where it has one, else fresh ones; what
    adapter_config.json says of them. Raises as `lora.add_lora`."""
    if student.adapter is not None:
        return lora.reopen_lora(student.model, student.adapter)
    return lora.add_lora(
        student.model,
        settings.rank,
        settings.scale,
        settings.dropout,
        settings.targets,
        settings.num_layers,
        settings.seed,
        settings.fine_tune_type,
    )


def is_finished(folder: Path) -> bool:
    """Whether a run has left its adapter there and is not to go on."""
    return (folder / RECORD).is_file() and not (folder / checkpoint.NAME).is_file()


def fit(
    student: Student,
    adapter_config: dict[str, Any],
    prepared: Prepared,
    settings: TrainSettings,
    folder: Path,
    report: Report = lambda progress: None,
    means: Means | None = None,
    until: float = math.inf,
) -> Outcome:
    """Train the student's LoRA layers, going on from a checkpoint in `folder`, and write the adapter there; of several
    ranks the first one writes.

    `means`: of a run that begins, found out where not given; `until`: as for `loop.train`. A run that ends before its
    time leaves its best adapter and its checkpoint. The adapter's files hold no time and no path: the same run gives
    the same bytes. Raises as `probe.resolve` and `loop.train` do.
    """
    if means is None:
        kept = checkpoint.kept(folder)
        means = kept[1] if kept else probe.resolve(student.model, prepared.rows(), settings)[0]
    base = digest([student.identity, student.adapter_identity]) if student.adapter_identity else student.identity
    identity = loop.identity_of(settings, prepared.epochs, prepared.held_out, base)
    outcome = loop.train(
        student.model, prepared.epochs, prepared.held_out, settings, folder, identity, report, means, until
    )
    if not here().first:
        return outcome
    record = {
        "version": __version__,
        "base": base_fingerprint(student),
        **({"begun_from": student.adapter_identity} if student.adapter_identity else {}),
        "prompt_style": settings.prompt_style,
        "k": settings.k,
        "settings": asdict(settings),
        "data": {
            "trajectories": prepared.trajectories,
            "held_out": prepared.held_out_trajectories,
            "teachers": sorted({*prepared.teachers, *taught_by(student.adapter)}),
            "rows": sum(len(epoch.rows) for epoch in prepared.epochs),
            "tokens": prepared.tokens(settings),
            "hash": digest_rows(prepared.epochs),
        },
        "figures": {
            "parameters": sum(array.size for array in outcome.weights.values()),
            "steps": outcome.steps,
            "planned_steps": len(loop.plan_steps(prepared.epochs, settings)),
            "loss": outcome.last_loss,
            "held_out_loss": outcome.held_out_loss,
            "best_step": outcome.best_step,
        },
    }
    lora.save_adapter(folder, outcome.weights, adapter_config, record, settings.half)
    if outcome.finished:
        checkpoint.remove(folder)
    return outcome
