"""How long `duomem-mlx --help` takes beside an empty typer program. Usage: python scripts/bench_cli.py [RUNS]

Prints the best of RUNS (default 10) of each, taken in turn, and their ratio; exit status 1 when that is over 1.3.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOST = 1.3
EMPTY = """
import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def main() -> None:
    pass


app()
"""


def best_seconds(calls: dict[str, list[str]], runs: int) -> dict[str, float]:
    """The shortest of `runs` of every call, in seconds of the clock."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(runs):
        for name, call in calls.items():
            started = time.perf_counter()
            subprocess.run(call, check=True, capture_output=True)
            best[name] = min(best[name], time.perf_counter() - started)
    return best


def main(runs: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        calls = {
            "an empty typer program": [sys.executable, str(empty), "--help"],
            "duomem-mlx --help": [sys.executable, "-m", "duomem_mlx", "--help"],
        }
        best = best_seconds(calls, runs)
    for name, seconds in best.items():
        print(f"{name:<24} {seconds:.3f} s")
    ratio = best["duomem-mlx --help"] / best["an empty typer program"]
    print(f"{'ratio':<24} {ratio:.2f} (at most {MOST})")
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
