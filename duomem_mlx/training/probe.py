"""Before a run: short trials say what its micro-batches cost, whether they fit, how long it takes and what it needs."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.student import cpu, machine
from duomem_mlx.training import forks
from duomem_mlx.training.budget import Cost, Means, MicroBatch
from duomem_mlx.training.lanes import Lanes, computing
from duomem_mlx.training.lora import trainable
from duomem_mlx.training.rows import Row
from duomem_mlx.training.settings import TrainSettings

GPU_TOKENS = 4096  # of a micro-batch; on a CPU rows together gain nothing over rows one by one
GPU_CACHE = 8  # freed buffers may take an eighth of the budget there
WIDER = 1.3  # the next width of the ladder may take so many times what the last two let expect
LADDER = (32, 64, 128, 256, 512, 1024)  # tokens of the rows that are tried
FEW, MORE = 8, 64  # supervised tokens of a trial
CPU_TRIAL = 2.5e11  # parameters · tokens of a trial there, at most: some seconds. No clock, so that means do not vary
PLAN_SECONDS = 60.0  # what the heaviest rows of a plan may take at most
COPIES = 6  # of the adapter: two moments of AdamW, the best weights, the gradients' sum, and what replaces the weights
FORWARD = 1 / 2  # of a gradient's time is a loss's: the frozen weights have no gradients (SmolLM2-135M: 0.53)
KEPT = 1 / 3  # of what a row with checkpointing takes at its most is there after its forward pass


@dataclass(frozen=True)
class Costs:
    bytes: Cost  # beside weights and optimizer
    seconds: Cost  # alone on the machine


Trials = Mapping[bool, Costs]  # without gradient checkpointing and with it, as far as tried
Span = tuple[float, float, MicroBatch]  # when one begins and ends


@dataclass(frozen=True)
class Plan:
    """What is left of a run."""

    steps: int
    tokens: int
    seconds: float
    peak_bytes: int  # as MLX counts its arrays
    resident_bytes: int  # as the system counts the process, with the buffers that MLX keeps
    disk_bytes: int
    recomputed: float  # share of the tokens that are computed with gradient checkpointing


def resolve(model: Any, rows: Sequence[Row], settings: TrainSettings) -> tuple[Means, Trials]:
    """Means for a run on `rows` (of all steps and held out) that keeps to its budget, and the trials behind them.

    Raises DuomemError where there are none, saying what would help, and UsageError for more than the machine has.
    """
    means = _without_costs(model, settings)
    longest = max(rows, key=lambda row: len(row.tokens))
    trials: dict[bool, Costs] = {}
    with computing(model, replace(means, lanes=1, room=None)) as lanes:
        for again in (settings.grad_checkpoint is True, True):
            trials[again] = _tried(lanes, model, longest, again, means.room)
            cost = trials[again].bytes
            means = replace(means, again=cost) if again else replace(means, plain=cost)
            share = (means.room or 0) / means.lanes
            if settings.grad_checkpoint is not None or all(batch.bytes <= share for batch in means.batches(rows)):
                break
    if overfull := means.overfull(means.batches(rows)):
        raise _does_not_fit(means, max(overfull, key=lambda batch: batch.bytes))
    return means, trials


def try_out(model: Any, rows: Sequence[Row], means: Means) -> Trials:
    """The trials for a run whose means are known."""
    longest = max(rows, key=lambda row: len(row.tokens))
    ways = {batch.again for batch in means.batches(rows)}
    with computing(model, replace(means, lanes=1, room=None)) as lanes:
        return {again: _tried(lanes, model, longest, again, means.room) for again in sorted(ways)}


def plan(
    model: Any,
    steps: Sequence[Sequence[Row]],
    held_out: Sequence[Row],
    settings: TrainSettings,
    means: Means,
    trials: Trials,
    done: int = 0,
    thorough: bool = False,
) -> Plan:
    """What is left of a run of `steps` after `done` of them. Rows of middling length are computed for the time, and, if
    `thorough`, for the memory the micro-batch that takes the most of those with checkpointing and of those without,
    each if that can be done within a minute."""
    batched = [means.batches(rows) for rows in steps]
    left = [batch for batches in batched[done:] for batch in batches]
    validated = (len(steps) // settings.eval_every - done // settings.eval_every + 1) if held_out else 0
    by_weight = sorted((batch for batches in batched for batch in batches), key=lambda batch: batch.bytes)
    heaviest = {batch.again: batch for batch in by_weight if batch.bytes}
    by_length = sorted(left or batched[-1], key=lambda batch: (batch.width, batch.rows[0].id))
    tried = by_length[len(by_length) // 2 :][: means.lanes]
    base, adapter = mx.get_active_memory(), _adapter_bytes(model)
    beside = machine.resident_bytes() - base - mx.get_cache_memory()
    with computing(model, means) as lanes:
        _, seconds = _measured(lanes, model, tried)
        found = {batch.again: 1.0 for batch in by_weight}  # times what was foretold
        for batch in heaviest.values():
            if thorough and _alone(trials, [batch]) <= PLAN_SECONDS:
                found[batch.again] = _measured(lanes, model, [batch])[0] / batch.bytes
    slowdown = seconds / max(_alone(trials, tried), 1e-9)  # at the same time, against one after the other
    at_once = max(most_at_once(batches, means, found) for batches in batched)
    peak = base + COPIES * adapter + int(at_once)
    tokens = sum(len(row.tokens) for batch in left for row in batch.rows)
    again = sum(len(row.tokens) for batch in left if batch.again for row in batch.rows)
    return Plan(
        steps=len(steps) - done,
        tokens=tokens,
        seconds=slowdown * (_alone(trials, left) + validated * FORWARD * _alone(trials, means.batches(held_out))),
        peak_bytes=peak,
        resident_bytes=max(0, beside) + peak + _processes(means.lanes) * (means.cache or 0),
        disk_bytes=(COPIES + 3) * adapter,  # a checkpoint, the one that replaces it, the adapter
        recomputed=again / max(tokens, 1),
    )


def most_at_once(batches: Sequence[MicroBatch], means: Means, found: Mapping[bool, float]) -> float:
    """The most bytes that the micro-batches of a step take at one time, `found` times what was foretold for one without
    checkpointing and with it, if each takes as long as what it would keep without checkpointing is large; measured
    seconds would give another answer on a busy machine. What one takes rises along its forward pass and falls along its
    backward pass, so the tops of two seldom meet; with checkpointing it is little along the forward pass, and the same
    all along the backward pass."""
    spans = _spans(batches, means)
    # Between these times nothing turns from rising to falling.
    tops = [begin + _forward(batch) * (end - begin) for begin, end, batch in spans]
    ends = [end - 1e-9 * (end - begin) for begin, end, _ in spans]
    return max(_taken(spans, at, found) for at in (*tops, *ends))


def _spans(batches: Sequence[MicroBatch], means: Means) -> list[Span]:
    """When each micro-batch of a step is computed, if they begin in their order, each as soon as a lane and room are
    free."""
    free = [0.0] * means.lanes  # since when
    spans: list[Span] = []
    for batch in batches:
        begin = min(free)
        while means.room is not None and (now := _running(spans, begin)):
            if sum(one.bytes for _, _, one in now) + batch.bytes <= means.room:
                break
            begin = min(end for _, end, _ in now)
        free[free.index(min(free))] = end = begin + _work(batch, means)
        spans.append((begin, end, batch))
    return spans


def _running(spans: Sequence[Span], at: float) -> list[Span]:
    return [span for span in spans if span[0] <= at < span[1]]


def _taken(spans: Sequence[Span], at: float, found: Mapping[bool, float]) -> float:
    return sum(found[span[2].again] * _height(span, at) for span in _running(spans, at))


def _height(span: Span, at: float) -> float:
    """Bytes that a micro-batch takes at a time between its begin and its end."""
    begin, end, batch = span
    along, forward = (at - begin) / (end - begin), _forward(batch)
    if along < forward * (1 - 1e-9):
        return batch.bytes * along / forward * (KEPT if batch.again else 1)
    return batch.bytes * (1 if batch.again else (1 - along) / (1 - forward))


def _work(batch: MicroBatch, means: Means) -> float:
    """How long a micro-batch takes, in no unit."""
    cost = means.plain or means.again
    assert cost is not None
    twice = 1 + FORWARD if batch.again and means.plain else 1
    return twice * max(1.0, cost.of(len(batch.rows), batch.width, batch.supervised))


def _forward(batch: MicroBatch) -> float:
    """Share of its time that the forward pass takes; with checkpointing there are two of them."""
    return FORWARD / (1 + FORWARD) if batch.again else FORWARD


def _without_costs(model: Any, settings: TrainSettings) -> Means:
    gpu = mx.default_device().type != mx.cpu
    if settings.ram and settings.ram > machine.total_bytes():
        raise UsageError(
            f"--ram is {settings.ram / 2**30:.1f} GB, the machine has {machine.total_bytes() / 2**30:.1f}.",
            "Ask for less.",
        )
    ram = settings.ram or machine.usable_bytes()
    lanes = cpu.lanes(settings.batch_size)
    cache = ram // GPU_CACHE if gpu else cpu.CACHE_BYTES
    base = mx.get_active_memory()
    beside = max(0, machine.resident_bytes() - base - mx.get_cache_memory())
    return Means(
        lanes=lanes,
        most_tokens=GPU_TOKENS if gpu else 0,
        coarse=gpu,
        recompute=settings.grad_checkpoint,
        ram=ram,
        room=ram - beside - _processes(lanes) * cache - base - COPIES * _adapter_bytes(model),  # below 0: so much lacks
        cache=cache,
    )


def _processes(lanes: int) -> int:
    """Each keeps freed buffers of its own."""
    return lanes if forks.possible() else 1


def _does_not_fit(means: Means, batch: MicroBatch) -> DuomemError:
    cost = means.again if batch.again else means.plain
    assert cost is not None
    assert means.room is not None
    assert means.ram is not None
    share = batch.supervised / batch.width
    fits = next((t for t in range(batch.width, 0, -1) if cost.of(1, t, int(t * share)) <= means.room), 0)
    enough = -(-(means.ram + 1.1 * batch.bytes - means.room) // 2**29) / 2  # the next trials give a little more or less
    advice = [f"Give it --ram {enough:g}GB", *([f"set --max-seq-length {fits}"] if fits >= LADDER[0] else [])]
    if means.recompute is False:
        advice.append("leave out --no-grad-checkpoint")
    return DuomemError(
        f"This run does not fit into {means.ram / 2**30:.1f} GB: {batch.rows[0].id} of {batch.width + 1} tokens takes "
        f"{batch.bytes / 2**30:.1f} GB, and beside model and optimizer there are "
        f"{max(0, means.room) / 2**30:.1f}.",
        f"{', or '.join(advice)}.",
    )


def _tried(lanes: Lanes, model: Any, longest: Row, again: bool, room: int | None) -> Costs:
    """Trials with ever longer rows."""
    most = len(longest.tokens) - 1
    if mx.default_device().type == mx.cpu:
        parameters = sum(array.size for _, array in tree_flatten(model.parameters()))
        most = min(most, max(LADDER[1], int(CPU_TRIAL / parameters)))
    widths = [width for width in LADDER if width <= most] or [most]
    _measured(lanes, model, [_trial(longest, widths[0], FEW, again)])  # warms up
    found: list[tuple[int, int, float]] = []  # width, bytes, seconds
    for width in widths:
        found.append((width, *_measured(lanes, model, [_trial(longest, width, FEW, again)])))
        if room is not None and len(found) > 2 and found[-1][1] ** 2 / max(1, found[-2][1]) > room / WIDER:
            break
    width, *few = found[-2:][0]
    more = _measured(lanes, model, [_trial(longest, width, MORE, again)])
    extra = min(MORE, width) - min(FEW, width)
    scores = [max(0.0, (more[i] - few[i]) / extra) if extra else 0.0 for i in range(2)]
    points = np.array(found[-3:], float).T
    return Costs(*(_cost(points[0], points[1 + i], scores[i]) for i in range(2)))


def _trial(row: Row, width: int, supervised: int, again: bool) -> MicroBatch:
    trained = np.zeros(width + 1, bool)
    trained[-min(supervised, width) :] = True
    return MicroBatch((Row("a trial", np.resize(row.tokens, width + 1), trained),), width, again)


def _cost(widths: Any, found: Any, score: float) -> Cost:
    """Through up to three measured points, each with a few supervised tokens; nothing falls as rows grow."""
    rest = found - score * np.minimum(FEW, widths)
    pair = 0.0
    if len(widths) > 2:
        pair = max(0.0, float(np.polyfit(widths, rest, 2)[0]))
    rest = rest - pair * widths**2
    token, fixed = np.polyfit(widths[-2:], rest[-2:], 1) if len(widths) > 1 else (rest[0] / widths[0], 0.0)
    if token < 0:
        token, fixed = 0.0, rest.max()
    return Cost(float(fixed), float(token), pair, score)


def _measured(lanes: Lanes, model: Any, batches: Sequence[MicroBatch]) -> tuple[int, float]:
    """(bytes beyond what was there, seconds) of computing these micro-batches' gradients together."""
    weights = tree_unflatten(list(trainable(model).items()))
    before = mx.get_active_memory()
    lanes.reset_peak()
    began = time.perf_counter()
    list(lanes.gradients(weights, batches, [0] * len(batches)))
    return lanes.peak_bytes - before, time.perf_counter() - began


def _alone(trials: Trials, batches: Iterable[MicroBatch]) -> float:
    """Seconds for these micro-batches one after the other."""
    return sum(trials[b.again].seconds.of(len(b.rows), b.width, b.supervised) for b in batches)


def _adapter_bytes(model: Any) -> int:
    return sum(array.nbytes for array in trainable(model).values())
