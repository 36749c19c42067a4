"""Exact retrieval beside faiss IndexFlatIP and usearch exact: the same ten nearest, how long, how much memory.

    python scripts/bench_retrieval.py [--sizes 1000,11000,100000] [--repeats 200] [--json]

The engines take turns, so that a busy machine is busy for all, a few calls each, so that caches are their own; the
table gives the median and the least time of a call. Each takes as many threads as it likes; on a machine that is not
idle set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1, which usearch is told too.
"""

import argparse
import json
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from duomem_mlx.memory.index import Floats, nearest

DIMENSIONS, K, BATCH = 384, 10, 64
A_TURN = 5


def unit_rows(rng: np.random.Generator, count: int) -> Floats:
    rows = rng.standard_normal((count, DIMENSIONS), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def contenders(vectors: Floats) -> dict[str, Callable[[Floats], Any]]:
    """Name -> queries [Q, D] to (rows [Q, K])."""
    found: dict[str, Callable[[Floats], Any]] = {
        "duomem": lambda queries: [rows[:K] for rows, _ in nearest(vectors, queries, K)]
    }
    try:
        import faiss

        index = faiss.IndexFlatIP(DIMENSIONS)
        index.add(vectors)
        found["faiss"] = lambda queries: index.search(queries, K)[1]
    except ImportError:
        print("faiss is not installed: pip install faiss-cpu", file=sys.stderr)
    try:
        from usearch.index import MetricKind, search

        threads = int(os.environ.get("OMP_NUM_THREADS", 0))  # 0: all
        found["usearch"] = lambda queries: search(
            vectors, queries, K, MetricKind.IP, exact=True, threads=threads
        ).keys.reshape(-1, K)
    except ImportError:
        print("usearch is not installed: pip install usearch", file=sys.stderr)
    return found


def timed(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(-(-repeats // A_TURN)):
        for name, call in calls.items():
            call()
            for _ in range(A_TURN):
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    return seconds


def agreement(vectors: Floats, queries: Floats, ours: Any, theirs: Any) -> tuple[int, int]:
    """(queries with the same rows in the same order, places where the cosines differ by more than float32 can tell)"""
    same = worse = 0
    for query, mine, other in zip(queries, ours, theirs, strict=True):
        same += list(mine) == list(other)
        exact = vectors[np.array([mine, other], dtype=np.int64)].astype(np.float64) @ query.astype(np.float64)
        worse += int((np.abs(exact[0] - exact[1]) > 1e-6).sum())
    return same, worse


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most that numpy and Python held at a time for one call."""
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def measure(count: int, repeats: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    vectors, queries = unit_rows(rng, count), unit_rows(rng, BATCH)
    found = contenders(vectors)
    answers = {name: search(queries) for name, search in found.items()}
    rows = []
    for asked in (1, BATCH):
        some = queries[:asked]
        extra = peak_bytes(partial(found["duomem"], some)) / vectors.nbytes
        seconds = timed(
            {name: partial(search, some) for name, search in found.items()},
            max(5, repeats // (1 if asked == 1 else 10) // (1 if count < 50_000 else 4)),
        )
        best = min((float(np.median(s)) for name, s in seconds.items() if name != "duomem"), default=float("nan"))
        for name, times in seconds.items():
            same, worse = agreement(vectors, some, answers["duomem"][:asked], answers[name][:asked])
            rows.append(
                {
                    "vectors": count,
                    "queries": asked,
                    "engine": name,
                    "median_us": round(float(np.median(times)) * 1e6, 1),
                    "least_us": round(min(times) * 1e6, 1),
                    "times_best_peer": round(float(np.median(times)) / best, 2),
                    "same_answers": same,
                    "places_that_differ": worse,
                    "extra_over_vectors": round(extra, 3) if name == "duomem" else None,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", default="1000,11000,100000")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = [row for size in chosen.sizes.split(",") for row in measure(int(size), chosen.repeats, rng)]
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    system = f"{platform.machine()} {platform.system()}, {threads} threads, numpy {np.__version__}"
    machine = f"{system}, {DIMENSIONS} dimensions, k = {K}"
    if chosen.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    print(machine)
    print(f"{'vectors':>8} {'queries':>8}  {'engine':8} {'median':>12} {'least':>12} {'× best':>7}  same     memory")
    for row in rows:
        times = f"{row['median_us']:9.1f} µs {row['least_us']:9.1f} µs {row['times_best_peer']:7.2f}"
        same = f"{row['same_answers']}/{row['queries']}"
        extra = row["extra_over_vectors"]
        memory = "" if extra is None else f"vectors × {1 + extra:.3f}"
        print(f"{row['vectors']:8} {row['queries']:8}  {row['engine']:8} {times}  {same:7}  {memory}".rstrip())


if __name__ == "__main__":
    main()
