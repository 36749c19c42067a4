"""Write the README's table of results from a summary that `duomem-mlx evaluate` made.

    python scripts/make_results.py [SUMMARY]

SUMMARY (a summary.json) is copied to docs/results/valid_seen.json first; without one the table is made from that copy.
"""

import json
import sys
from pathlib import Path
from typing import Any

from duomem_mlx.evaluation.results import interval

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "results" / "valid_seen.json"
BEGIN, END = "<!-- results: scripts/make_results.py -->", "<!-- end of results -->"
WHAT = {
    "base": "the student as it is",
    "memories": "with the teacher's memories",
    "adapter": "with the adapter",
    "duomem": "with both",
    "teacher": "the search program that taught it",
}


def block(summary: dict[str, Any]) -> str:
    """The README's section between its two markers."""
    rows = [
        "| arm | | won | success [95%] | mean steps | s a game | better than base |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for arm, figures in summary["arms"].items():
        low, high = interval(figures)
        against = figures.get("against_base")
        better = "" if against is None else f"{'yes' if against['better'] else 'cannot tell'}, p = {against['p']:.2g}"
        rows.append(
            f"| `{arm}` | {WHAT.get(arm, '')} | {figures['won']}/{figures['games']} | "
            f"{figures['success']:.1%} [{low:.1%}, {high:.1%}] | {figures['steps_mean']:.1f} | "
            f"{figures['seconds_per_game']:.1f} | {better} |"
        )
    machine = summary["machine"]
    note = (
        f"{summary['games']} games of ALFWorld's {summary['split']} split, at most {summary['max_steps']} actions "
        f"each, greedy, from observations alone; {summary['model']} (135M parameters), k = {summary['k']}. In the mean "
        f"of steps a game that was not won counts {summary['max_steps']}; p is exact McNemar's on the same games. "
        f"Measured on Linux, {machine['chip']}, {machine['cores']} cores, MLX {machine['mlx']} on the "
        f"{machine['device']}, float32."
    )
    return "\n".join([BEGIN, "", *rows, "", note, "", END])


def with_block(readme: str, summary: dict[str, Any]) -> str:
    """The README's text with its results replaced."""
    head, rest = readme.split(BEGIN, 1)
    return head + block(summary) + rest.split(END, 1)[1]


def main() -> None:
    if len(sys.argv) > 1:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(Path(sys.argv[1]).read_text(encoding="utf-8"), encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_block(readme.read_text(encoding="utf-8"), json.loads(KEPT.read_text())), encoding="utf-8")


if __name__ == "__main__":
    main()
