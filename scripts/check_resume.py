"""Training runs that are killed and resumed, beside one that nothing disturbs: do they end with the same bytes?

    python scripts/check_resume.py TRAJECTORIES [--runs 40] [--real 0] [--seed 0] [--json]

Every run is `duomem-mlx train` in a process of its own. It is stopped one to three times, then left alone, and its
adapter is compared byte for byte. It is stopped by

    kill     SIGKILL at a random moment, before the first step as well as after the last
    Ctrl-C   SIGINT at a random moment
    call     SIGKILL at the n-th time that it opens, renames or removes a file in its folder
    torn     SIGKILL while MLX writes a file, with a random share of it on disk

`--runs` are of a tiny random model with the student's tokenizer, `--real` of the student itself.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from duomem_mlx.cli.main import app, status
from duomem_mlx.student.models import student_folder
from duomem_mlx.trajectory import append_trajectory, read_trajectories

KINDS = ("kill", "Ctrl-C", "call", "torn")
ADAPTER = ("adapter_config.json", "adapters.safetensors", "duomem.json")
STEPS, TINY_ROWS, REAL_ROWS = 8, 24, 10
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
START = "fork" if sys.platform.startswith("linux") else "spawn"


@dataclass(frozen=True)
class Stop:
    """How a run is stopped: after `step` steps and a little; or from within, at the `count`-th chance."""

    kind: str
    step: int = 0
    delay: float = 0.0  # seconds
    count: int = 0
    share: float = 0.0  # of a file that is on disk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trajectories", type=Path)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        won = [one for one in read_trajectories(options.trajectories) if one.won]
        for what, runs, rows in (("tiny", options.runs, TINY_ROWS), ("real", options.real, REAL_ROWS)):
            if not runs:
                continue
            for trajectory in won[:rows]:
                append_trajectory(place / f"{what}.jsonl", trajectory)
            base = tiny_base(place / "base") if what == "tiny" else None
            found[what] = check(place, what, base, runs, chance)
    print(json.dumps(found) if options.json else told(found))
    sys.exit(any(one["identical"] < one["runs"] for one in found.values()))


def told(found: dict[str, Any]) -> str:
    lines = []
    for what, one in found.items():
        stops = ", ".join(f"{kind} {count}" for kind, count in sorted(one["stops"].items()))
        lines.append(f"{what}: {one['identical']} of {one['runs']} adapters identical to the byte; stopped by {stops}")
    return "\n".join(lines)


def check(place: Path, what: str, base: Path | None, runs: int, chance: random.Random) -> dict[str, Any]:
    def words(out: Path) -> list[str]:
        return [
            *("train", str(place / f"{what}.jsonl"), "--out", str(out), "--memories", "none"),
            *("--prompt-style", "compact-1", "--iters", str(STEPS), "--batch-size", "3", "--save-every", "2"),
            *("--eval-every", "3", "--held-out", "0.2", "--rank", "4", "--ram", "4GB"),
            *(["--model", str(base)] if base else []),
        ]

    whole = place / f"{what}-whole"
    if run(words(whole), whole) != 0:
        raise SystemExit(f"The undisturbed run failed:\n{(place / f'{what}-whole.log').read_text()}")
    stops: Counter[str] = Counter()
    identical = 0
    for number in range(runs):
        out = place / f"{what}-{number}"
        for _ in range(chance.randint(1, 3)):
            stop = drawn(chance)
            if run(words(out), out, stop) != 0:
                stops[stop.kind] += 1
        if run(words(out), out) != 0:
            print((place / f"{out.name}.log").read_text(), file=sys.stderr)
        same = all((out / n).is_file() and (out / n).read_bytes() == (whole / n).read_bytes() for n in ADAPTER)
        identical += same
        print(f"{what} {number}: {'the same' if same else 'OTHER BYTES'} ({dict(stops)})", file=sys.stderr, flush=True)
    return {"runs": runs, "identical": identical, "stops": dict(stops)}


def drawn(chance: random.Random) -> Stop:
    kind = chance.choice(KINDS)
    return Stop(
        kind,
        step=chance.randint(0, STEPS),
        delay=chance.random() * 0.3,
        count=chance.randint(1, 5 if kind == "torn" else 60),
        share=chance.random(),
    )


def run(words: Sequence[str], out: Path, stop: Stop | None = None) -> int:
    """The exit status of one call, negative for the signal that ended it."""
    process = multiprocessing.get_context(START).Process(target=child, args=(list(words), out, stop))
    process.start()
    if stop is not None and stop.kind in ("kill", "Ctrl-C"):
        while process.is_alive() and steps_done(out) < stop.step:
            time.sleep(0.01)
        time.sleep(stop.delay)
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL if stop.kind == "kill" else signal.SIGINT)
    process.join()
    return process.exitcode or 0


def steps_done(out: Path) -> int:
    metrics = out / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.is_file() else 0


def child(words: list[str], out: Path, stop: Stop | None) -> None:
    log = os.open(out.parent / f"{out.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if stop is not None and stop.kind == "call":
        die_at_call(out, stop.count)
    if stop is not None and stop.kind == "torn":
        die_writing(stop.count, stop.share)
    sys.exit(status(lambda: app(words)))


def die_at_call(out: Path, count: int) -> None:
    left = count

    def heard(event: str, details: tuple[Any, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.chmod") and str(details[0]).startswith(str(out)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(heard)


def die_writing(count: int, share: float) -> None:
    import mlx.core as mx

    write, left = mx.save_safetensors, count

    def torn(file: str, *given: Any) -> None:
        nonlocal left
        write(file, *given)
        left -= 1
        if left == 0:
            os.truncate(file, int(os.stat(file).st_size * share))
            os.kill(os.getpid(), signal.SIGKILL)

    mx.save_safetensors = torn  # type: ignore[assignment]


def tiny_base(folder: Path) -> Path:
    """A random model of a few thousand parameters a layer, with the student's tokenizer."""
    process = multiprocessing.get_context(START).Process(target=make_base, args=(folder,))
    process.start()
    process.join()
    return folder


def make_base(folder: Path) -> None:
    import shutil

    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    real = student_folder()
    folder.mkdir()
    for path in real.iterdir():
        if path.suffix in (".json", ".jinja", ".txt") and "safetensors" not in path.name:
            shutil.copy(path, folder / path.name)
    config = {**json.loads((real / "config.json").read_text()), **SMALL, "num_key_value_heads": 2, "head_dim": 8}
    (folder / "config.json").write_text(json.dumps(config))
    model_class, args_class = _get_classes(config)
    mx.random.seed(0)
    model = model_class(args_class.from_dict(config))
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})


if __name__ == "__main__":
    main()
