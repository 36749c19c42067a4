"""A large bank, and a fresh process: how long until it is open, until the first memory is found, until one is added.

    python scripts/bench_bank.py [--count 100000] [--runs 3] [--json]

The large bank holds random vectors and is made in a temporary folder. Each measurement is a process of its own; the
least of the runs is given. The first retrieval is a search in the shipped bank by the text of a task, with the start of
Python and the loading of the encoder.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.index import Floats
from duomem_mlx.memory.live import MATRIX
from duomem_mlx.memory.record import Memory, Source

DIMENSIONS = 384
SOURCE = Source("household", "train/game", "train", "search", "0" * 16)


class RandomEncoder:
    """The same text, the same vector."""

    id, fingerprint, dimensions = "random", "random", DIMENSIONS

    def encode(self, texts: Sequence[str]) -> Floats:
        seeds = [int.from_bytes(text.encode()[-8:], "little") for text in texts]
        rows = np.array([np.random.default_rng(seed).standard_normal(DIMENSIONS, np.float32) for seed in seeds])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def numbered(number: int) -> Memory:
    task = f"put some thing in place {number}"
    steps = ("go to place 1", "take thing 1 from place 1", "go to place 2", "move thing 1 to place 2")
    return Memory(
        task, "Look for the thing in the place first, then elsewhere. Take it, and put it there.", steps, SOURCE
    )


def use(folder: Path, number: int) -> dict[str, Any]:
    """Open, search, add one, search again; seconds of each, and what became of the matrix."""
    start = time.perf_counter()
    bank = Bank.open(folder, RandomEncoder())
    count, opened = len(bank), time.perf_counter()
    (hit,) = bank.search(numbered(number).task, 1)
    found = time.perf_counter()
    assert hit.memory.task == numbered(number).task, "the wrong memory was found"
    before, calls = (folder / MATRIX).stat(), _written()
    bank.add([numbered(count)])
    added = time.perf_counter()
    (hit,) = bank.search(numbered(count).task, 1)
    assert hit.memory.task == numbered(count).task, "what was added is not found"
    after = (folder / MATRIX).stat()
    return {
        "memories": count,
        "open_s": opened - start,
        "first_search_s": found - opened,
        "add_s": added - found,
        "search_after_add_s": time.perf_counter() - added,
        "matrix_is_the_same_file": before.st_ino == after.st_ino,
        "matrix_grew_bytes": after.st_size - before.st_size,
        "written_bytes": _written() - calls,
    }


def _written() -> int:
    """Bytes that this process gave to write calls so far; 0 where the system does not say."""
    counts = Path("/proc/self/io")
    return int(counts.read_text().split("wchar: ")[1].split()[0]) if counts.is_file() else 0


FIRST = """
import json, sys
from duomem_mlx.memory.bank import Bank
(hit,) = Bank.open("alfworld-search").search("put some box on dresser", 1)
print(json.dumps({"torch": "torch" in sys.modules, "task": hit.memory.task}))
"""


def first_retrieval() -> dict[str, Any]:
    """Seconds of a whole process that finds one memory, with nothing loaded before."""
    start = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", FIRST], check=True, capture_output=True, text=True).stdout
    return {"first_retrieval_s": time.perf_counter() - start, **json.loads(said)}


def least(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: min(run[name] for run in runs) if name.endswith("_s") else runs[-1][name] for name in runs[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--use", type=Path, help=argparse.SUPPRESS)  # a process of its own
    chosen = parser.parse_args()
    if chosen.use:
        print(json.dumps(use(chosen.use, chosen.count // 2)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bank"
        start = time.perf_counter()
        with Bank.create(folder, RandomEncoder()) as bank:
            bank.add([numbered(number) for number in range(chosen.count)])
            bank.search("put some thing in place 0", 1)  # the matrix is there from now on
        built = time.perf_counter() - start
        command = [sys.executable, __file__, "--use", str(folder), "--count", str(chosen.count)]
        said = [subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout for _ in range(chosen.runs)]
        size = sum(file.stat().st_size for file in folder.iterdir())
    large = {"build_s": built, "bank_bytes": size, **least([json.loads(one) for one in said])}
    fresh = least([first_retrieval() for _ in range(chosen.runs)])
    machine = f"{os.uname().machine} {os.uname().sysname}, {os.cpu_count()} CPUs, numpy {np.__version__}"
    if chosen.json:
        print(json.dumps({"machine": machine, "large": large, "fresh": fresh}))
        return
    print(machine)
    for what, value in {**large, **fresh}.items():
        print(f"{what:24} {value:.3f}" if isinstance(value, float) else f"{what:24} {value}")


if __name__ == "__main__":
    main()
