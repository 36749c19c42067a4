"""What each way of computing a training row costs: seconds, tokens a second and processor seconds, side by side.

    python scripts/bench_train.py TRAJECTORIES [--rows 8] [--rounds 3]

Every way runs in a process of its own, one after the other, round by round, so that a busy machine troubles all
alike; the best round of each counts. The gradients of all ways are compared too.

    two threads   MLX's own forms, one row at a time, the BLAS on all cores
    one thread    MLX's own forms, one row at a time, the BLAS on one core
    quick         the CPU's quicker forms (student/cpu.py), one row at a time, one core
    lanes         the same, a row on every core
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

WAYS = {"two threads": (None, False), "one thread": ("1", False), "quick": ("1", True), "lanes": ("1", True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trajectories", type=Path)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.trajectories, options.rows, options.way)))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, (threads, _) in WAYS.items():
            environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
            environment |= {"OMP_NUM_THREADS": threads} if threads else {}
            call = [sys.executable, __file__, str(options.trajectories), "--rows", str(options.rows), "--way", way]
            done = subprocess.run(call, env=environment, check=True, capture_output=True, text=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'':12}  {'seconds':>8}  {'tokens/s':>8}  {'cpu s':>8}  {'peak GB':>8}  gradient")
    for way, rounds in found.items():
        best = min(rounds, key=lambda one: one["seconds"])
        cpu = min(one["cpu_s"] for one in rounds)
        print(
            f"{way:12}  {best['seconds']:8.2f}  {best['tokens'] / best['seconds']:8.0f}  {cpu:8.2f}"
            f"  {best['peak_gb']:8.2f}  {best['gradient_norm']:.7f}"
        )


def measure(path: Path, count: int, way: str) -> dict[str, float]:
    """Gradients of the first `count` trajectories' rows, once; a short row before it warms up."""
    import mlx.core as mx

    from duomem_mlx.environment import find_environment
    from duomem_mlx.prompt import COMPACT
    from duomem_mlx.student import cpu
    from duomem_mlx.student.agent import writer_for
    from duomem_mlx.student.heads import logits_at
    from duomem_mlx.student.models import load_student
    from duomem_mlx.training.budget import Means
    from duomem_mlx.training.lanes import Lanes
    from duomem_mlx.training.lora import add_lora
    from duomem_mlx.training.rows import make_epoch
    from duomem_mlx.trajectory import read_trajectories

    student = load_student()
    writer = writer_for(student, find_environment("household"), COMPACT)
    chosen = [trajectory for _, trajectory in zip(range(count), read_trajectories(path), strict=False)]
    rows = make_epoch(chosen, writer, max_tokens=8192).rows
    add_lora(student.model, 16, 2.0, 0.0, (), -1, 0)
    logits, _ = logits_at(student.model)
    lanes = Lanes(student.model, logits, cpu.lanes(count) if way == "lanes" else 1)
    weights = student.model.trainable_parameters()
    groups = Means().batches(rows)
    with cpu.quick() if WAYS[way][1] else nullcontext():
        list(lanes.gradients(weights, groups[-1:], [0]))
        mx.reset_peak_memory()
        began, cpu_began = time.perf_counter(), time.process_time()
        parts = list(lanes.gradients(weights, groups, [0] * len(groups)))
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    lanes.close()
    squares = sum(float(g.square().sum().item()) for g in parts[0].gradients.values())
    return {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "tokens": sum(len(row.tokens) for row in rows),
        "peak_gb": mx.get_peak_memory() / 2**30,
        "gradient_norm": squares**0.5,
    }


if __name__ == "__main__":
    import duomem_mlx.training  # noqa: F401  (loads OpenBLAS before MLX)

    main()
