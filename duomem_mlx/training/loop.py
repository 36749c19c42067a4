"""The training loop: the same bytes for the same run, whether it was stopped and resumed or not."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.optimizers import AdamW
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from duomem_mlx.errors import DuomemError
from duomem_mlx.paths import disk_faults, write_text
from duomem_mlx.training import checkpoint
from duomem_mlx.training.budget import UNBOUNDED, Means, MicroBatch, from_record
from duomem_mlx.training.checkpoint import State
from duomem_mlx.training.flat import Flat
from duomem_mlx.training.forks import ForkLost
from duomem_mlx.training.lanes import Lanes, computing, number
from duomem_mlx.training.lora import trainable
from duomem_mlx.training.ranks import RankLost, here
from duomem_mlx.training.rows import Epoch, Row, digest_rows
from duomem_mlx.training.settings import TrainSettings

METRICS = "metrics.jsonl"
ALIKE = 16  # steps
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
    finished: bool = True  # False: the time was up, and the same run can go on


def plan_steps(epochs: Sequence[Epoch], settings: TrainSettings) -> list[tuple[Row, ...]]:
    """The rows of every step: each pass in its own order by the seed, nothing dropped, one step of a pass smaller where
    it must be. Rows of a step are of similar length, out of ALIKE steps' rows drawn at random: lanes then end at the
    same time, and little is filled up."""
    steps: list[tuple[Row, ...]] = []
    size = settings.batch_size
    for which, epoch in enumerate(epochs):
        rng = np.random.default_rng([settings.seed, which])
        rows = [epoch.rows[i] for i in rng.permutation(len(epoch.rows))]
        for begin in range(0, len(rows), ALIKE * size):
            drawn = sorted(rows[begin : begin + ALIKE * size], key=lambda row: len(row.tokens))
            found = [tuple(drawn[i : i + size]) for i in range(0, len(drawn), size)]
            steps += [found[i] for i in rng.permutation(len(found))]
    return steps[: settings.iters]


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Of step `step` (from 0) of `steps`: linear warm-up, then a cosine down to a twentieth."""
    warmup = min(settings.warmup_steps, steps // 10)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    along = (step - warmup) / max(1, steps - warmup)
    return settings.learning_rate * (LOWEST_RATE + (1 - LOWEST_RATE) * (1 + math.cos(math.pi * along)) / 2)


def identity_of(settings: TrainSettings, epochs: Sequence[Epoch], held_out: Sequence[Row], base: str) -> dict[str, str]:
    """What a run must share with the checkpoint it resumes from, by name; `base` identifies the model's weights."""
    return {
        **{name: str(value) for name, value in asdict(settings).items()},
        "set of rows": digest_rows([*epochs, Epoch(tuple(held_out))]),
        "model": base,
    }


def train(
    model: Any,
    epochs: Sequence[Epoch],
    held_out: Sequence[Row],
    settings: TrainSettings,
    folder: Path,
    identity: Mapping[str, str],
    report: Report = lambda progress: None,
    means: Means = UNBOUNDED,
    until: float = math.inf,
) -> Outcome:
    """Train the LoRA layers that `model` carries; go on from the checkpoint in `folder` where there is one.

    `identity`: what a resumed run must share, by name (`identity_of`). `means`: of a run that begins; one that goes on
    keeps its own. `until`: the time (`time.monotonic`) after which no step ends; the outcome is then not finished, its
    weights the best so far, and the checkpoint that of a run that goes on. The model ends with the outcome's weights.
    On Ctrl-C, and when another rank or process has ended (RankLost, ForkLost), the steps done are saved and the
    exception goes on its way.
    Of several ranks the first one alone reads and writes `folder`, and its means and its clock are everybody's. Raises
    DuomemError naming the rows whose loss or gradient is not finite, or the learning rate that leaves no finite
    weights, and as `Ranks.agree` and `checkpoint.load` do.
    """
    steps = plan_steps(epochs, settings)
    ranks = here()
    ranks.agree(identity)
    state = checkpoint.load(folder, identity, ranks)
    begins = state is None
    if state is None:
        shared = ranks.from_first(json.dumps(asdict(means)).encode()) or b"{}"
        state = State(0, trainable(model), None, from_record(json.loads(shared)))
    optimizer = AdamW(settings.learning_rate, weight_decay=settings.weight_decay, bias_correction=True)
    optimizer.init(Flat(state.weights).joined(state.weights))
    if state.optimizer is not None:
        optimizer.state = state.optimizer
    state = replace(state, optimizer=_copied(optimizer.state))

    def save(state: State) -> None:
        if ranks.first:
            checkpoint.save(folder, state, identity)

    if begins:
        save(state)  # means are not found out again after this
    if ranks.first:
        _rewind_metrics(folder / METRICS, state.step)
    longest = 0.0
    with computing(model, state.means) as lanes:
        try:
            began = time.monotonic()
            for after in _steps(lanes, steps, held_out, settings, folder, state, optimizer, report):
                state = after
                if state.step % settings.save_every == 0 and state.step < len(steps):
                    save(state)
                began, before = time.monotonic(), began
                longest = max(longest, began - before)
                if ranks.from_first(b"the time is up" if began + longest > until else None):
                    break
        except (KeyboardInterrupt, RankLost, ForkLost):
            save(state)
            raise
        save(state)
        finished = state.step == len(steps) or _exhausted(state, settings)
        best = state if finished or not held_out else _validated(lanes, state, held_out)
    weights = best.best_weights or best.weights
    model.update(_tree(weights))
    return Outcome(
        weights=weights,
        steps=state.step,
        last_loss=_last_loss(folder / METRICS, state.step),
        held_out_loss=best.best_loss,
        best_step=best.best_step,
        finished=finished,
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
    """The state after each step that is left, until validations bring nothing better. Arrays of an earlier state never
    change."""
    began, tokens_done, flat = time.perf_counter(), 0, Flat(state.weights)
    tokens_left = sum(_tokens(rows) for rows in steps[state.step :])
    for place in range(state.step, len(steps)):
        if _exhausted(state, settings):
            return
        started = time.perf_counter()
        rows = steps[place]
        rate = learning_rate(place, len(steps), settings)
        weights = _tree(state.weights)
        loss, gradients = _gradient(lanes, weights, state.means.batches(rows), place, settings)
        norm = _norm(gradients)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise _not_finite(lanes, state, rows, settings)
        factor = min(1.0, settings.max_grad_norm / (norm + 1e-6))
        optimizer.learning_rate = rate
        scaled = {dtype: gradient * factor for dtype, gradient in flat.joined(gradients).items()}
        moved = optimizer.apply_gradients(scaled, flat.joined(state.weights))
        named = flat.parted(moved)
        mx.eval(moved, optimizer.state, named)
        if not math.isfinite(_norm(moved)):
            raise DuomemError(
                f"Step {place + 1}: a learning rate of {rate:g} leaves weights that are not finite numbers.",
                "Lower --learning-rate, and begin again with --overwrite. Nothing of this step was kept.",
            )
        state = replace(state, step=place + 1, weights=named, optimizer=_copied(optimizer.state))
        validated = None
        if held_out and (state.step % settings.eval_every == 0 or state.step == len(steps)):
            validated = evaluate(lanes, state.weights, state.means.batches(held_out))
            state = _with_best(state, validated)
        tokens_done += _tokens(rows)
        now = time.perf_counter()
        noted = {
            "step": state.step,
            "loss": loss,
            **({} if validated is None else {"held_out_loss": validated}),
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens": _tokens(rows),
            "supervised": sum(row.supervised for row in rows),
            "mass": math.fsum(row.mass for row in rows),
            "seconds": round(now - started, 3),
        }
        if here().first:
            _note(folder / METRICS, noted)
        speed = tokens_done / (now - began)
        left = (tokens_left - tokens_done) / speed
        report(Progress(state.step, len(steps), loss, speed, left, lanes.peak_bytes, validated))
        yield state


def evaluate(lanes: Lanes, weights: Mapping[str, mx.array], batches: Sequence[MicroBatch]) -> float:
    """Loss per supervised token of all rows by their weights, always the same ones in the same order."""
    mine = _share(batches)
    parts = lanes.losses(_tree(weights), [batches[i] for i in mine])
    losses = {i: part.loss for i, part in zip(mine, parts, strict=True)}
    return here().total(losses, len(batches)) / _mass(batches)


def _with_best(state: State, validated: float) -> State:
    if state.best_loss is not None and validated >= state.best_loss:
        return state
    return replace(state, best_loss=validated, best_step=state.step, best_weights=state.weights)


def _validated(lanes: Lanes, state: State, held_out: Sequence[Row]) -> State:
    """A state that ends before its time, with the better of the weights it has and the best ones so far."""
    return _with_best(state, evaluate(lanes, state.weights, state.means.batches(held_out)))


def _exhausted(state: State, settings: TrainSettings) -> bool:
    """Whether the last `patience` validations were no better than the best."""
    if not settings.patience or state.best_step is None:
        return False
    return state.step // settings.eval_every - state.best_step // settings.eval_every >= settings.patience


def _gradient(
    lanes: Lanes, weights: Any, batches: Sequence[MicroBatch], place: int, settings: TrainSettings
) -> tuple[float, dict[str, mx.array]]:
    """Mean over the supervised tokens of the step by their weights, of loss and gradients."""
    seeds = [_seed(settings.seed, place, i) for i in range(len(batches))]
    mass = _mass(batches)
    total: dict[str, mx.array] = {}
    losses: dict[int, float] = {}
    mine = _share(batches)
    parts = lanes.gradients(weights, [batches[i] for i in mine], [seeds[i] for i in mine])
    for i, part in zip(mine, parts, strict=True):
        losses[i] = part.loss
        total = {name: total[name] + g if total else g for name, g in part.gradients.items()}
        mx.eval(total)
    total = total or {name: mx.zeros_like(array) for name, array in tree_flatten(weights)}
    summed = here().summed(dict(sorted(total.items())))
    return here().total(losses, len(batches)) / mass, {name: g / mass for name, g in summed.items()}


def _not_finite(lanes: Lanes, state: State, rows: Sequence[Row], settings: TrainSettings) -> DuomemError:
    guilty = []
    for row in rows:
        batches = state.means.batches([row])
        loss, gradients = _gradient(lanes, _tree(state.weights), batches, state.step, settings)
        if not (math.isfinite(loss) and math.isfinite(_norm(gradients))):
            guilty.append(row.id)
    named = ", ".join(guilty or [row.id for row in rows])
    return DuomemError(
        f"Step {state.step + 1}: loss or gradient is not a finite number, in trajectory {named}.",
        "Look at it with --show-rows, lower --learning-rate, or leave it out. Nothing of this step was kept.",
    )


def _norm(arrays: Mapping[str, mx.array]) -> float:
    squares = mx.stack([array.astype(mx.float32).square().sum() for _, array in sorted(arrays.items())])  # one order
    return math.sqrt(number(squares.sum()))


def _seed(seed: int, step: int, group: int) -> int:
    return int(np.random.SeedSequence([seed, step, group]).generate_state(1)[0])


def _tokens(rows: Sequence[Row]) -> int:
    return sum(len(row.tokens) for row in rows)


def _mass(batches: Sequence[MicroBatch]) -> float:
    return math.fsum(row.mass for batch in batches for row in batch.rows)


def _share(batches: Sequence[MicroBatch]) -> list[int]:
    """Which of a step's micro-batches this rank computes."""
    return here().share([len(batch.rows) * batch.width for batch in batches])


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
