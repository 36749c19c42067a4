"""A training run as a person sees it: what is trained, what it will take, how it goes, and the rows themselves."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem_mlx.cli import output

if TYPE_CHECKING:
    from duomem_mlx.paths import RunFolder
    from duomem_mlx.student.models import Student
    from duomem_mlx.training.budget import Means
    from duomem_mlx.training.fit import Prepared
    from duomem_mlx.training.loop import Progress
    from duomem_mlx.training.probe import Plan
    from duomem_mlx.training.rows import Row
    from duomem_mlx.training.settings import TrainSettings

KINDS = {"lora": "LoRA", "dora": "DoRA"}
TRYING = "Trying some rows out, for what they take …"


def train_in(
    folder: "RunFolder | None",
    student: "Student",
    prepared: "Prepared",
    settings: "TrainSettings",
    until: float,
    claim: Callable[[], object] | None = None,
) -> None:
    """Train until it is done or the time is up, telling what is trained, what it takes, and how it goes. Before
    anything is written the folder is claimed, or what `claim` claims, and no other process trains in it meanwhile; it
    is None where another rank has it."""
    from duomem_mlx.paths import alone_in
    from duomem_mlx.training import checkpoint, probe
    from duomem_mlx.training.budget import UNBOUNDED
    from duomem_mlx.training.fit import fit
    from duomem_mlx.training.loop import plan_steps

    adapter_config = with_adapter(student, prepared, settings)
    steps = plan_steps(prepared.epochs, settings)
    means = UNBOUNDED
    if folder is None:
        pass
    elif kept := checkpoint.kept(folder.path) if folder.begun else None:
        output.say(f"Going on after step {kept[0]} of {len(steps)}.")
        means = kept[1]
    else:
        output.say(TRYING)
        means, trials = probe.resolve(student.model, prepared.rows(), settings)
        tell_plan(probe.plan(student.model, steps, prepared.held_out, settings, means, trials), means)
    if folder is not None:
        (claim or folder.claim)()
    alone = nullcontext() if folder is None else alone_in(folder.path)
    with alone, output.progress("Training", len(steps)) as advance:
        fit(
            student,
            adapter_config,
            prepared,
            settings,
            Path() if folder is None else folder.path,
            lambda now: advance(now.step, _note(now)),
            means,
            until,
        )


def planned(folder: "RunFolder", student: "Student", prepared: "Prepared", settings: "TrainSettings") -> dict[str, Any]:
    """What is left of the run will take; nothing is written."""
    from duomem_mlx.training import checkpoint, probe
    from duomem_mlx.training.loop import plan_steps

    with_adapter(student, prepared, settings)
    output.say(TRYING)
    if kept := checkpoint.kept(folder.path) if folder.begun else None:
        done, means = kept
        trials = probe.try_out(student.model, prepared.rows(), means)
    else:
        done = 0
        means, trials = probe.resolve(student.model, prepared.rows(), settings)
    steps = plan_steps(prepared.epochs, settings)
    plan = probe.plan(student.model, steps, prepared.held_out, settings, means, trials, done, thorough=True)
    tell_plan(plan, means)
    output.say("This was a plan; without --plan it is done.")
    return {
        "steps": plan.steps,
        "tokens": plan.tokens,
        "hours": round(plan.seconds / 3600, 6),
        "peak_bytes": plan.peak_bytes,
        "resident_bytes": plan.resident_bytes,
        "ram_bytes": means.ram,
        "disk_bytes": plan.disk_bytes,
        "lanes": means.lanes,
        "grad_checkpoint": round(plan.recomputed, 4),
    }


def tell_plan(plan: "Plan", means: "Means") -> None:
    output.say(
        f"{plan.steps} steps, {plan.tokens} tokens: about {duration(plan.seconds)} "
        f"({plan.tokens / plan.seconds:.0f} tokens/s)."
    )
    budget = "" if means.ram is None else f" of {means.ram / 2**30:.1f}"
    checkpointed = f", gradient checkpointing for {plan.recomputed:.0%} of the tokens" if plan.recomputed else ""
    output.say(
        f"At its peak {plan.resident_bytes / 2**30:.1f}{budget} GB ({plan.peak_bytes / 2**30:.1f} in arrays), "
        f"{means.lanes} at a time{checkpointed}; {plan.disk_bytes / 2**20:.0f} MB on disk."
    )
    if means.ram is not None and plan.resident_bytes > means.ram:
        wanted = math.ceil(plan.resident_bytes / 2**20)
        output.say(f"Careful: by this it may outgrow its budget; --ram {wanted}MB would hold it.")


def with_adapter(student: "Student", prepared: "Prepared", settings: "TrainSettings") -> dict[str, Any]:
    """Give the student its LoRA layers and tell what is trained; what adapter_config.json says of them."""
    from duomem_mlx.student.heads import logits_at
    from duomem_mlx.training.fit import add_adapter_layers
    from duomem_mlx.training.lora import trainable

    adapter_config = add_adapter_layers(student, settings)
    lora = adapter_config["lora_parameters"]
    weights = sum(array.size for array in trainable(student.model).values())
    kind = KINDS[adapter_config.get("fine_tune_type", "lora")]
    told = f"{weights / 1e6:.2f}M" if weights >= 10_000 else f"{weights}"
    output.say(f"{kind} of rank {lora['rank']} on {', '.join(lora['keys'])}: {told} parameters.")
    if not logits_at(student.model)[1]:
        output.say("This kind of model computes all logits, not only those that are scored: slower, the same numbers.")
    first = prepared.epochs[0]
    if first.silent:
        output.say(f"{first.silent} answers without an action are shown and not trained.")
    output.say(
        f"{prepared.trajectories} trajectories, {prepared.held_out_trajectories} held out; {len(first.rows)} rows of "
        f"{first.tokens / len(first.rows):.0f} tokens, {first.supervised / first.tokens:.0%} of them trained; "
        f"{first.memories / len(first.rows):.1f} memories a row ({first.left_out} left out for length); "
        f"{first.cut} cut between turns; {first.refused} refused actions shown, not trained; "
        f"{first.corrections} actions corrected; {first.clipped} texts of the world too long to be shown whole."
    )
    return adapter_config


def _note(now: "Progress") -> str:
    held_out = "" if now.held_out_loss is None else f", held out {now.held_out_loss:.4f}"
    return (
        f"loss {now.loss:.4f}{held_out}, {now.tokens_per_second:.0f} tokens/s, {duration(now.seconds_left)} left, "
        f"peak {now.peak_bytes / 2**30:.1f} GB"
    )


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def show(rows: "Sequence[Row]", decode: "Callable[[Sequence[int]], str]", head: dict[str, Any] | None) -> None:
    """Rows as text, what is trained marked; with `head` as one JSON object that begins with it."""
    from duomem_mlx.training.rows import shown_row

    if head is not None:
        told = [
            {"id": row.id, "tokens": len(row.tokens), "trained": row.supervised, "spans": shown_row(row, decode)}
            for row in rows
        ]
        output.result({**head, "rows": told})
        return
    for row in rows:
        output.line(f"— {row.id}: {len(row.tokens)} tokens, {row.supervised} trained")
        output.marked(shown_row(row, decode))
