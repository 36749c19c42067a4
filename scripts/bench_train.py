"""The trainer beside `mlx_lm.lora`: seconds to the same held-out loss, tokens a second, peak memory; in one run.

    python scripts/bench_train.py TRAJECTORIES [--limit 300] [--turn 30] [--quick] [--json]
    python scripts/bench_train.py TRAJECTORIES --vocabulary 151936 [--quick]

Both sides train the same LoRA (rank 16, scale 2, every linear layer, float32, OpenBLAS) of the default student on the
same trajectories, each in a process of its own. They take turns of some seconds, so that a busy machine troubles both
alike, and while one computes the other waits; only a side's own turns count. After each turn one evaluator, which is
neither's code (full logits, plain cross entropy), measures the loss on action tokens of the same held-out rows.

    ours     the training loop as `duomem-mlx train` runs it, a row and a process on every core, one BLAS thread each
    mlx-lm   mlx_lm's trainer as it can run: batches of one (four are killed for memory at 24 GiB), all tokens of its
             `text` format trained since its masks know one answer a conversation, AdamW, warm-up and cosine as ours,
             the BLAS on all cores, mx.compile off (on a CPU it calls a compiler for every length and gains nothing)
    perf     the same with the loss of mlx-train-perf in its place, where that can be imported (--perf): 0.9.1 asks
             for mlx 0.32.0, so it is put on PYTHONPATH. Of its parts only that loss (chunked) runs on a CPU; kernels,
             flash attention and with it packing need Metal

`--vocabulary` takes a random body of the student's shape with so many tokens, and random ones in the rows: speed and
memory alone. `--quick` is the same on fewer rows. Figures go with their machine; only ratios of one run are quoted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RANK, SCALE, HELD_OUT_ROWS = 16, 2.0, 16
SIDES = {"ours": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, "mlx-lm": {}, "perf": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trajectories", type=Path)
    parser.add_argument("--limit", type=int, default=300, help="trajectories")
    parser.add_argument("--turn", type=float, default=30.0, help="seconds")
    parser.add_argument("--batch-size", type=int, default=8, help="rows a step of ours")
    parser.add_argument("--rates", type=float, nargs=2, default=(1e-3, 3e-4), help="learning rates, ours and mlx-lm's")
    parser.add_argument("--vocabulary", type=int, help="tokens of a random model, in the student's place")
    parser.add_argument("--ram", type=int, help="ours keeps to so many bytes")
    parser.add_argument("--perf", action="store_true", help="mlx-train-perf's loss too")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.limit, options.turn = max(10, options.limit // 5), options.turn / 2
    if options.side:
        work(options)
        return
    found = compare(options)
    print(json.dumps(found) if options.json else table(found))


@dataclass
class Side:
    """What the parent knows of one side."""

    process: subprocess.Popen[str]
    seconds: float = 0.0
    trials: float = 0.0  # of the seconds, before the first step
    tokens: int = 0
    steps: int = 0
    peak_gb: float = 0.0
    done: bool = False
    losses: list[tuple[float, float]] = field(default_factory=list)  # (seconds, held-out loss)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    from duomem_mlx.student.machine import machine_record

    names = ["ours", "mlx-lm", *(["perf"] if options.perf else [])]
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: Side(start(name, folder)) for name in names}
        for side in sides.values():
            heard(side)  # it is loaded
        judge = None if options.vocabulary else evaluator(options)
        while any(not side.done for side in sides.values()):
            for name, side in sides.items():
                if side.done:
                    continue
                print("go", file=side.process.stdin, flush=True)
                told = heard(side)
                for key, value in told.items():
                    setattr(side, key, value)
                if judge is not None:
                    side.losses.append((side.seconds, judge(Path(folder) / f"{name}.safetensors")))
                last = f", held-out loss {side.losses[-1][1]:.4f}" if side.losses else ""
                speed = side.tokens / (side.seconds - side.trials)
                tell = f"{name}: step {side.steps}, {side.seconds:.0f} s, {speed:.0f} tokens/s, {side.peak_gb:.2f} GB"
                print(tell + last, file=sys.stderr, flush=True)
    return {"machine": machine_record(), "limit": options.limit, **summed_up(sides)}


def start(name: str, folder: str) -> subprocess.Popen[str]:
    environment = {n: v for n, v in os.environ.items() if n not in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment |= {**SIDES[name], "MLX_DISABLE_COMPILE": "1", "BENCH_FOLDER": folder}
    call = [sys.executable, __file__, *sys.argv[1:], "--side", name]
    return subprocess.Popen(call, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def heard(side: Side) -> dict[str, Any]:
    line = side.process.stdout.readline() if side.process.stdout else ""
    if not line:
        raise SystemExit("A side ended early; its words are above.")
    found: dict[str, Any] = json.loads(line)
    return found


def summed_up(sides: dict[str, Side]) -> dict[str, Any]:
    worst_end = max((min(loss for _, loss in side.losses) for side in sides.values() if side.losses), default=None)
    rows = {}
    for name, side in sides.items():
        rows[name] = {
            "steps": side.steps,
            "tokens": side.tokens,
            "seconds": side.seconds,
            "trials": side.trials,
            "tokens_per_second": side.tokens / (side.seconds - side.trials),
            "peak_gb": side.peak_gb,
            "losses": side.losses,
            "seconds_to_loss": None if worst_end is None else reached(side.losses, worst_end),
        }
    ours, theirs = rows["ours"], rows["mlx-lm"]
    ratios = {
        "tokens_per_second": ours["tokens_per_second"] / theirs["tokens_per_second"],
        "peak_memory": ours["peak_gb"] / theirs["peak_gb"],
    }
    if worst_end is not None:
        ratios["seconds_to_loss"] = theirs["seconds_to_loss"] / ours["seconds_to_loss"]
    return {"same_loss": worst_end, "sides": rows, "ratios": ratios}


def reached(losses: Sequence[tuple[float, float]], wanted: float) -> float:
    """When the loss first was `wanted`, on the line between two measurements."""
    before = losses[0]
    for seconds, loss in losses:
        if loss <= wanted:
            share = (before[1] - wanted) / (before[1] - loss) if before[1] > loss else 1.0
            return before[0] + share * (seconds - before[0])
        before = (seconds, loss)
    return float("inf")


def table(found: dict[str, Any]) -> str:
    lines = [f"{'':8} {'tokens/s':>9} {'peak GB':>8} {'seconds':>8} {'steps':>6}  to the same loss"]
    for name, side in found["sides"].items():
        to_loss = "" if side["seconds_to_loss"] is None else f"{side['seconds_to_loss']:.0f} s"
        lines.append(
            f"{name:8} {side['tokens_per_second']:9.0f} {side['peak_gb']:8.2f}"
            f" {side['seconds']:8.0f} {side['steps']:6}  {to_loss}"
        )
    if found["same_loss"] is not None:
        lines.append(f"the same held-out loss: {found['same_loss']:.4f}")
    lines.append("ratios: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in found["ratios"].items()))
    return "\n".join(lines)


def prepared(options: argparse.Namespace, student: Any) -> Any:
    from types import SimpleNamespace

    from duomem_mlx.environment import find_environment
    from duomem_mlx.prompt import COMPACT
    from duomem_mlx.student.agent import writer_for
    from duomem_mlx.student.models import load_tokenizer
    from duomem_mlx.training.fit import prepare
    from duomem_mlx.trajectory import read_trajectories

    environment: Any = find_environment("household")
    student = student or SimpleNamespace(tokenizer=load_tokenizer())
    won = (one for one in read_trajectories(options.trajectories) if one.won)
    chosen = [one for _, one in zip(range(options.limit), won, strict=False)]
    writer = writer_for(student, environment, COMPACT)
    return prepare(chosen, writer, settings_of(options), None, None, lambda one: environment.place(one.game))


def settings_of(options: argparse.Namespace) -> Any:
    from duomem_mlx.training.settings import TrainSettings

    return TrainSettings(
        rank=RANK,
        scale=SCALE,
        k=0,
        held_out=0.05,
        batch_size=options.batch_size,
        ram=options.ram,
        learning_rate=options.rates[0],
    )


def evaluator(options: argparse.Namespace) -> Any:
    """A function of a file of adapter weights: mean cross entropy of the held-out rows' action tokens."""
    import mlx.core as mx
    from mlx import nn

    from duomem_mlx.student.models import load_student
    from duomem_mlx.training.lora import add_lora

    student = load_student()
    rows = prepared(options, student).held_out[:HELD_OUT_ROWS]
    add_lora(student.model, RANK, SCALE, 0.0, (), -1, 0)
    student.model.eval()

    def judge(path: Path) -> float:
        student.model.load_weights(str(path), strict=False)
        total = 0.0
        for row in rows:
            logits = student.model(mx.array(row.tokens)[None, :-1])[0]
            each = nn.losses.cross_entropy(logits, mx.array(row.tokens[1:]), reduction="none")
            total += (each * mx.array(row.trained[1:])).sum().item()
        return total / sum(row.supervised for row in rows)

    return judge


class Enough(BaseException):
    """All rows are done."""


class Turns:
    """A side's clock: it runs while the side has its turn. The first steps of all lengths are part of it."""

    def __init__(self, options: argparse.Namespace, whole: int) -> None:
        self.options = options
        self.whole = whole  # rows
        self.rows = self.steps = self.tokens = 0
        self.seconds = self.trials = 0.0
        self.to_parent = os.fdopen(os.dup(1), "w")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def begin(self) -> None:
        print("{}", file=self.to_parent, flush=True)
        sys.stdin.readline()
        self.began = time.perf_counter()
        self.turn = 0.0

    def tried(self) -> None:
        """The trials before the first step are done; they are part of the time to a loss."""
        self.trials = time.perf_counter() - self.began

    def step(self, rows: int, tokens: int, weights: Any, peak: int) -> None:
        """A step of the side is done. `weights`: a function that gives the adapter's weights by name. `peak`: bytes in
        arrays so far, of all its processes, each at its own peak."""
        import mlx.core as mx

        now = time.perf_counter()
        self.seconds += now - self.began
        self.turn += now - self.began
        self.rows, self.steps, self.tokens = self.rows + rows, self.steps + 1, self.tokens + tokens
        done = self.rows >= self.whole
        if self.turn >= self.options.turn or done:
            told = {
                "seconds": self.seconds,
                "trials": self.trials,
                "tokens": self.tokens,
                "steps": self.steps,
                "peak_gb": peak / 2**30,
                "done": done,
            }
            path = Path(os.environ["BENCH_FOLDER"]) / f"{self.options.side}.safetensors"
            mx.save_safetensors(str(path), weights())
            print(json.dumps(told), file=self.to_parent, flush=True)
            if done:
                raise Enough
            sys.stdin.readline()
            self.turn = 0.0
        self.began = time.perf_counter()


def work(options: argparse.Namespace) -> None:
    """One side, to its end."""
    import mlx.core as mx

    model, tokenizer = random_model(options.vocabulary) if options.vocabulary else loaded()
    data = prepared(options, None)
    if options.vocabulary:
        data = scrambled(data, options.vocabulary)
    turns = Turns(options, len(data.epochs[0].rows))
    mx.reset_peak_memory()
    with suppress(Enough):
        (work_ours if options.side == "ours" else work_mlx_lm)(options, model, tokenizer, data, turns)


def loaded() -> tuple[Any, Any]:
    from duomem_mlx.student.models import load_student

    student = load_student()
    return student.model, student.tokenizer


def random_model(vocabulary: int) -> tuple[Any, None]:
    import mlx.core as mx
    from mlx_lm.utils import _get_classes

    from duomem_mlx.student.models import student_folder

    config = {**json.loads((student_folder() / "config.json").read_text()), "vocab_size": vocabulary}
    model_class, args_class = _get_classes(config)
    model = model_class(args_class.from_dict(config))
    mx.eval(model.parameters())
    return model, None


def scrambled(data: Any, vocabulary: int) -> Any:
    """The same rows, their tokens spread over another vocabulary."""
    from dataclasses import replace

    import numpy as np

    def spread(row: Any) -> Any:
        return replace(row, tokens=(row.tokens.astype(np.int64) * 7919 % vocabulary).astype(np.int32))

    epochs = tuple(replace(epoch, rows=tuple(map(spread, epoch.rows))) for epoch in data.epochs)
    return replace(data, epochs=epochs)


def work_ours(options: argparse.Namespace, model: Any, tokenizer: Any, data: Any, turns: Turns) -> None:
    from duomem_mlx.training import loop, probe
    from duomem_mlx.training.lora import add_lora, trainable

    settings = settings_of(options)
    add_lora(model, RANK, SCALE, 0.0, (), -1, 0)
    turns.begin()
    means, _ = probe.resolve(model, data.rows(), settings)
    turns.tried()
    steps = loop.plan_steps(data.epochs, settings)

    def report(now: Any) -> None:
        rows = steps[now.step - 1]  # the model holds the weights of a step before: to our disadvantage
        turns.step(len(rows), sum(len(row.tokens) for row in rows), lambda: trainable(model), now.peak_bytes)

    with tempfile.TemporaryDirectory() as folder:
        loop.train(model, data.epochs, (), settings, Path(folder), {}, report, means)


def work_mlx_lm(options: argparse.Namespace, model: Any, tokenizer: Any, data: Any, turns: Turns) -> None:
    import mlx.core as mx
    from mlx.optimizers import AdamW
    from mlx_lm.tuner import trainer
    from mlx_lm.tuner.datasets import CacheDataset, TextDataset
    from mlx_lm.tuner.utils import build_schedule, linear_to_lora_layers

    from duomem_mlx.training.lora import linear_names, trainable

    rows = data.epochs[0].rows
    dataset: Any = [(row.tokens.tolist(), 0) for row in rows]
    if tokenizer is not None:
        dataset = CacheDataset(
            TextDataset([{"text": tokenizer.decode(row.tokens.tolist())} for row in rows], tokenizer)
        )
    mx.random.seed(0)
    model.freeze()
    parameters = {"rank": RANK, "scale": SCALE, "dropout": 0.0, "keys": linear_names(model)}
    linear_to_lora_layers(model, len(model.layers), parameters)
    rate = options.rates[1]
    schedule = {"name": "cosine_decay", "warmup": len(rows) // 10, "arguments": [rate, len(rows), rate / 20]}
    loss = trainer.default_loss
    if options.side == "perf":
        from mlx_train_perf.adapters.mlx_lm import make_loss_fn

        loss = make_loss_fn(model, impl="chunked")

    def batches(**given: Any) -> Iterator[Any]:
        for batch, lengths in trainer.iterate_batches(**given):
            yield batch, lengths
            turns.step(len(lengths), int(lengths[:, 1].sum().item()), lambda: trainable(model), mx.get_peak_memory())

    folder = Path(os.environ["BENCH_FOLDER"])
    args = trainer.TrainingArgs(
        batch_size=1,
        iters=10**9,
        steps_per_report=10**9,
        steps_per_save=10**9,
        adapter_file=str(folder / "unused.safetensors"),
    )
    turns.begin()
    optimizer = AdamW(build_schedule(schedule), bias_correction=True)
    trainer.train(model, optimizer, dataset, None, args, loss, batches)


if __name__ == "__main__":
    import duomem_mlx.training  # noqa: F401  (loads OpenBLAS before MLX)

    main()
