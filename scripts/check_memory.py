"""What `train --plan` foretells beside what a run takes. Usage: python scripts/check_memory.py [--ram 8GB] [--steps 2]
[--only 135M|4B] [--json FILE]

Eight made-up trajectories a step, 400 to 1,650 tokens long, 12% of them trained, for the default student and for a
random model with Qwen3-4B's layers, four of them. Plan and run are processes of their own. arrays: what MLX counts, of
each process that computes at its own peak. process: on Linux the most that they held together, a page that several see
counted once (PSS, looked at twenty times a second); elsewhere the resident peak of the one process there is. Exit
status 1 where a plan is off by more than 15% or a run goes beyond its budget.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LENGTHS = (1650, 1471, 1293, 1114, 936, 757, 579, 400)
TRAINED = 0.12
MOST_OFF = 0.15
LOOK_EVERY_S = 0.05
CUT_4B = {  # https://huggingface.co/Qwen/Qwen3-4B/blob/main/config.json, 4 layers of 36
    "model_type": "qwen3",
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 4,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
}
MODELS = ("135M", "4B")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ram", default="8GB")
    options.add_argument("--steps", type=int, default=2)
    options.add_argument("--only", choices=MODELS)
    options.add_argument("--json", type=Path)
    options.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.worker:
        print(json.dumps(worker(*given.worker, given.ram, given.steps)))
        return 0
    found = {name: compared(name, given) for name in MODELS if given.only in (None, name)}
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(not all(one["holds"] for one in found.values()))


def compared(name: str, given: argparse.Namespace) -> dict[str, Any]:
    plan, run = (asked(name, what, given) for what in ("plan", "run"))
    off = {key: plan[key] / run[key] - 1 for key in ("arrays", "process")}
    holds = all(abs(one) <= MOST_OFF for one in off.values()) and run["process"] <= plan["ram"]
    print(f"{name}: --ram {plan['ram'] / 2**30:.1f} GB, {plan['lanes']} at a time, {plan['recomputed']:.0%} recomputed")
    for key in off:
        print(f"  {key:<8} plan {plan[key] / 2**30:5.2f} GB  run {run[key] / 2**30:5.2f} GB  {off[key]:+.1%}")
    print(f"  seconds  plan {plan['seconds']:5.0f}     run {run['seconds']:5.0f}")
    print("  holds" if holds else "  FALLS SHORT", flush=True)
    return {"plan": plan, "run": run, "off": off, "holds": holds}


def asked(name: str, what: str, given: argparse.Namespace) -> dict[str, Any]:
    call = [sys.executable, __file__, "--worker", name, what, "--ram", given.ram, "--steps", str(given.steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    held = 0
    with subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while what == "run" and process.poll() is None:
            held = max(held, shared_once(process.pid))
            time.sleep(LOOK_EVERY_S)
        said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"The {what} of {name} ended with {process.returncode}; its words are above.")
    found: dict[str, Any] = json.loads(said)
    return found if what == "plan" else {**found, "process": held or found["process"]}


def shared_once(pid: int) -> int:
    """Bytes that a process and those it began hold together; 0 where the system does not say."""
    import psutil

    try:
        first = psutil.Process(pid)
        return sum(getattr(one.memory_full_info(), "pss", 0) for one in (first, *first.children(recursive=True)))
    except psutil.Error:
        return 0


def worker(name: str, what: str, ram: str, steps: int) -> dict[str, Any]:
    from duomem_mlx.student.machine import peak_resident_bytes, size_in_bytes
    from duomem_mlx.training import loop, lora, probe
    from duomem_mlx.training.rows import Epoch
    from duomem_mlx.training.settings import TrainSettings

    settings = TrainSettings(ram=size_in_bytes(ram), held_out=0.0)
    rows = made_rows(steps)
    epochs = [Epoch(tuple(rows))]
    model = made_model(name)
    lora.add_lora(model, settings.rank, settings.scale, settings.dropout, settings.targets, settings.num_layers, 0)
    means, trials = probe.resolve(model, rows, settings)
    if what == "plan":
        plan = probe.plan(model, loop.plan_steps(epochs, settings), [], settings, means, trials, thorough=True)
        return {
            "arrays": plan.peak_bytes,
            "process": plan.resident_bytes,
            "seconds": plan.seconds,
            "recomputed": plan.recomputed,
            "lanes": means.lanes,
            "ram": means.ram,
        }
    began, peaks = time.monotonic(), [0]
    with tempfile.TemporaryDirectory() as folder:
        report = lambda now: peaks.append(now.peak_bytes)  # noqa: E731
        loop.train(model, epochs, [], settings, Path(folder), {}, report, means=means)
    return {"arrays": max(peaks), "process": peak_resident_bytes(), "seconds": time.monotonic() - began}


def made_rows(steps: int) -> list[Any]:
    import numpy as np

    from duomem_mlx.training.rows import Row

    rows = []
    for number in range(steps * len(LENGTHS)):
        drawn = np.random.default_rng(number)
        length = LENGTHS[number % len(LENGTHS)]
        trained = drawn.random(length) < TRAINED
        trained[0], trained[-1] = False, True
        rows.append(Row(f"row {number}", drawn.integers(20, 40000, length).astype(np.int32), trained))
    return rows


def made_model(name: str) -> Any:
    import mlx.core as mx

    from duomem_mlx.student.models import load_student

    if name == "135M":
        return load_student().model
    from mlx_lm.utils import _get_classes

    model_class, args_class = _get_classes(CUT_4B)
    mx.random.seed(0)
    model = model_class(args_class.from_dict(CUT_4B))
    mx.eval(model.parameters())
    return model


if __name__ == "__main__":
    import duomem_mlx.training  # noqa: F401  (loads OpenBLAS before MLX)

    sys.exit(main())
