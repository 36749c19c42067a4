"""The training loop: the same bytes for the same run, whether it was stopped and resumed or not."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.optimizers import AdamW
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from duomem_mlx.errors import DuomemError
from duomem_mlx.paths import digest, disk_faults, write_text
from duomem_mlx.student import cpu
from duomem_mlx.student.heads import logits_at
from duomem_mlx.training import checkpoint
from duomem_mlx.training.checkpoint import State
from duomem_mlx.training.lanes import Lanes, number
from duomem_mlx.training.lora import trainable
from duomem_mlx.training.rows import Epoch, Row, digest_rows
from duomem_mlx.training.settings import TrainSettings

METRICS = "metrics.jsonl"
GPU_TOKENS = 4096  # rows of near-equal length are computed together up to so many tokens; on a CPU that gains nothing
LOWEST_RATE = 0.05  # where the cosine ends, as a share of the highest learning rate


@dataclass(frozen=True)
class Progress:
    """Told after every step."""

    step: int
    steps: int
    loss: float  # per supervised token of the step
    tokens_per_second: float  # of the whole rows, since this call began
    seconds_left: float
    peak_bytes: int
    held_out_loss: float | None  # where this step was validated


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Outcome:
    """The adapter a run ends with. Losses are per supervised token."""

    weights: dict[str, mx.array]
    steps: int
    last_loss: float | None  # of the last tenth of the steps
    held_out_loss: float | None
    best_step: int | None  # whose weights these are; None: the last step's


def plan_steps(epochs: Sequence[Epoch], settings: TrainSettings) -> list[tuple[Row, ...]]:
    """The rows of every step: each pass in its own order by the seed, nothing dropped, the last batch of a pass
    smaller where it must be."""
    steps: list[tuple[Row, ...]] = []
    for which, epoch in enumerate(epochs):
        order = np.random.default_rng([settings.seed, which]).permutation(len(epoch.rows))
        rows = [epoch.rows[i] for i in order]
        steps += [tuple(rows[i : i + settings.batch_size]) for i in range(0, len(rows), settings.batch_size)]
    return steps[: settings.iters]


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Of step `step` (from 0) of `steps`: linear warm-up, then a cosine down to a twentieth."""
    warmup = min(settings.warmup_steps, steps // 10)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    along = (step - warmup) / max(1, steps - warmup)
    return settings.learning_rate * (LOWEST_RATE + (1 - LOWEST_RATE) * (1 + math.cos(math.pi * along)) / 2)


def micro_batches(rows: Sequence[Row], most_tokens: int) -> list[tuple[Row, ...]]:
    """Rows computed together, the longest first: as many of near-equal length as `most_tokens` hold, at least one."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (-len(row.tokens), row.id)):
        if groups and len(groups[-1][0].tokens) * (len(groups[-1]) + 1) <= most_tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [tuple(group) for group in groups]


def identity_of(settings: TrainSettings, epochs: Sequence[Epoch], held_out: Sequence[Row], base: str) -> dict[str, str]:
    """What a run must share with the checkpoint it resumes from; `base` identifies the model's weights."""
    return {
        "setting": digest(asdict(settings)),
        "set of rows": digest_rows([*epochs, Epoch(tuple(held_out))]),
        "model": base,
    }


@contextmanager
def computing(model: Any, settings: TrainSettings) -> Iterator[Lanes]:
    """Lanes for the model in training mode, with what makes this device quick; evaluation mode afterwards."""
    logits, _ = logits_at(model)
    model.train()
    with cpu.quick():
        lanes = Lanes(model, logits, cpu.lanes(settings.batch_size))
        try:
            yield lanes
        finally:
            lanes.close()
            model.eval()


def seconds_per_token(model: Any, rows: Sequence[Row], settings: TrainSettings) -> float:
    """Measured on as many rows of middling length as are computed at once, after a short one that warms up."""
    by_length = sorted(rows, key=lambda row: (len(row.tokens), row.id))
    middling = by_length[len(rows) // 2]
    tried = [[middling]] * cpu.lanes(settings.batch_size)
    weights = _tree(trainable(model))
    with computing(model, settings) as lanes:
        list(lanes.gradients(weights, [by_length[:1]], [0]))
        started = time.perf_counter()
        list(lanes.gradients(weights, tried, [0] * len(tried)))
        return (time.perf_counter() - started) / (len(middling.tokens) * len(tried))


def train(
    model: Any,
    epochs: Sequence[Epoch],
    held_out: Sequence[Row],
    settings: TrainSettings,
    folder: Path,
    identity: Mapping[str, str],
    report: Report = lambda progress: None,
) -> Outcome:
    """Train the LoRA layers that `model` carries; go on from the checkpoint in `folder` where there is one.

    `identity`: what a resumed run must share, by name (`identity_of`). The model ends with the outcome's weights.
    On Ctrl-C the steps done are saved and KeyboardInterrupt goes on its way. Raises DuomemError naming the rows whose
    loss or gradient is not finite, and as `checkpoint.load` does.
    """
    steps = plan_steps(epochs, settings)
    state = checkpoint.load(folder, identity)
    if state is None:
        state = State(0, trainable(model), None)
    optimizer = AdamW(settings.learning_rate, weight_decay=settings.weight_decay, bias_correction=True)
    optimizer.init(_tree(state.weights))
    if state.optimizer is not None:
        optimizer.state = state.optimizer
    state = replace(state, optimizer=_copied(optimizer.state))
    _rewind_metrics(folder / METRICS, state.step)
    with computing(model, settings) as lanes:
        try:
            for after in _steps(lanes, steps, held_out, settings, folder, state, optimizer, report):
                state = after
                if state.step % settings.save_every == 0 and state.step < len(steps):
                    checkpoint.save(folder, state, identity)
        except KeyboardInterrupt:
            checkpoint.save(folder, state, identity)
            raise
    checkpoint.save(folder, state, identity)
    weights = state.best_weights or state.weights
    model.update(_tree(weights))
    return Outcome(
        weights=weights,
        steps=state.step,
        last_loss=_last_loss(folder / METRICS, len(steps)),
        held_out_loss=state.best_loss,
        best_step=state.best_step,
    )


def _steps(
    lanes: Lanes,
    steps: Sequence[Sequence[Row]],
    held_out: Sequence[Row],
    settings: TrainSettings,
    folder: Path,
    state: State,
    optimizer: Any,
    report: Report,
) -> Iterator[State]:
    """The state after each step that is left. Arrays of an earlier state never change."""
    began, tokens_done = time.perf_counter(), 0
    tokens_left = sum(_tokens(rows) for rows in steps[state.step :])
    for place in range(state.step, len(steps)):
        started = time.perf_counter()
        rows = steps[place]
        rate = learning_rate(place, len(steps), settings)
        weights = _tree(state.weights)
        loss, gradients = _gradient(lanes, weights, rows, place, settings)
        norm = _norm(gradients)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise _not_finite(lanes, weights, rows, place, settings)
        factor = min(1.0, settings.max_grad_norm / (norm + 1e-6))
        optimizer.learning_rate = rate
        updated = optimizer.apply_gradients(_tree({name: g * factor for name, g in gradients.items()}), weights)
        mx.eval(updated, optimizer.state)
        state = replace(state, step=place + 1, weights=dict(tree_flatten(updated)), optimizer=_copied(optimizer.state))
        validated = None
        if held_out and (state.step % settings.eval_every == 0 or state.step == len(steps)):
            validated = evaluate(lanes, state.weights, held_out)
            if state.best_loss is None or validated < state.best_loss:
                state = replace(state, best_loss=validated, best_step=state.step, best_weights=state.weights)
        tokens_done += _tokens(rows)
        now = time.perf_counter()
        _note(
            folder / METRICS,
            {
                "step": state.step,
                "loss": loss,
                **({} if validated is None else {"held_out_loss": validated}),
                "learning_rate": rate,
                "gradient_norm": norm,
                "tokens": _tokens(rows),
                "supervised": sum(row.supervised for row in rows),
                "mass": math.fsum(row.mass for row in rows),
                "seconds": round(now - started, 3),
            },
        )
        speed = tokens_done / (now - began)
        left = (tokens_left - tokens_done) / speed
        report(Progress(state.step, len(steps), loss, speed, left, mx.get_peak_memory(), validated))
        yield state


def evaluate(lanes: Lanes, weights: Mapping[str, mx.array], rows: Sequence[Row]) -> float:
    """Loss per supervised token of all rows by their weights, always the same ones in the same order."""
    total = math.fsum(part.loss for part in lanes.losses(_tree(weights), micro_batches(rows, _most_tokens())))
    return total / math.fsum(row.mass for row in rows)


def _gradient(
    lanes: Lanes, weights: Any, rows: Sequence[Row], place: int, settings: TrainSettings
) -> tuple[float, dict[str, mx.array]]:
    """Mean over the supervised tokens of the step by their weights, of loss and gradients."""
    groups = micro_batches(rows, _most_tokens())
    seeds = [_seed(settings.seed, place, i) for i in range(len(groups))]
    mass = math.fsum(row.mass for row in rows)
    total: dict[str, mx.array] = {}
    losses = []
    for part in lanes.gradients(weights, groups, seeds):
        losses.append(part.loss)
        total = {name: total[name] + g if total else g for name, g in part.gradients.items()}
        mx.eval(total)
    return math.fsum(losses) / mass, {name: g / mass for name, g in total.items()}


def _not_finite(lanes: Lanes, weights: Any, rows: Sequence[Row], place: int, settings: TrainSettings) -> DuomemError:
    guilty = []
    for row in rows:
        loss, gradients = _gradient(lanes, weights, [row], place, settings)
        if not (math.isfinite(loss) and math.isfinite(_norm(gradients))):
            guilty.append(row.id)
    named = ", ".join(guilty or [row.id for row in rows])
    return DuomemError(
        f"Step {place + 1}: loss or gradient is not a finite number, in trajectory {named}.",
        "Look at it with --show-rows, lower --learning-rate, or leave it out. Nothing of this step was kept.",
    )


def _norm(gradients: Mapping[str, mx.array]) -> float:
    squares = mx.stack([g.astype(mx.float32).square().sum() for _, g in sorted(gradients.items())])  # one order
    return math.sqrt(number(squares.sum()))


def _most_tokens() -> int:
    return 0 if mx.default_device().type == mx.cpu else GPU_TOKENS


def _seed(seed: int, step: int, group: int) -> int:
    return int(np.random.SeedSequence([seed, step, group]).generate_state(1)[0])


def _tokens(rows: Sequence[Row]) -> int:
    return sum(len(row.tokens) for row in rows)


def _tree(weights: Mapping[str, mx.array]) -> Any:
    return tree_unflatten(list(weights.items()))


def _copied(state: Any) -> Any:
    """The same arrays in dictionaries of their own: an optimizer changes its dictionaries, never an array."""
    return tree_map(lambda array: array, state)


def _note(path: Path, line: Mapping[str, Any]) -> None:
    with disk_faults(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Whole lines of metrics.jsonl; a line that a kill tore is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _rewind_metrics(path: Path, step: int) -> None:
    """Leave what belongs to the steps up to `step`; the others are done again."""
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def _last_loss(path: Path, steps: int) -> float | None:
    last = [line for line in read_metrics(path) if line["step"] > steps * 0.9]
    mass = math.fsum(line["mass"] for line in last)
    return math.fsum(line["loss"] * line["mass"] for line in last) / mass if mass else None
