"""Write docs/results.md and the README's table from what is kept under docs/results, one JSON file a measurement.

    python scripts/make_results.py                                write both again
    python scripts/make_results.py KIND FOLDER… [--adapter ID] [--memories ID]      keep one first

KIND is a measurement, FOLDER a finished results folder of `duomem-mlx evaluate`:

    valid_seen      the ladder: all 140 games in all arms
    own             the bare student on training games, for memories of its own
    seeds           adapters of several training seeds, arms `adapter` and `duomem`
    k               several numbers of memories (`--k 2,0,1,4,10 --limit 70`)
    four_bits       two folders: the student in float32, then in 4 bits, on the same games
    scienceworld    what scripts/reproduce_scienceworld.sh measured
    recipes         FOLDER of scripts/compare_recipes.py

`--adapter` and `--memories` say where these lie if they are not the shipped ones: their bytes are kept too.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import results_page
from results_kept import kept, kept_beside

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.evaluation.results import interval
from duomem_mlx.report.sections import WHAT

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "results"
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
BEGIN, END = "<!-- results: scripts/make_results.py -->", "<!-- end of results -->"
KINDS = ("valid_seen", "own", "seeds", "k", "four_bits", "scienceworld", "recipes")
ARMS = ("base", "memories", "adapter", "duomem", "teacher")  # of the README


def block(kept: dict[str, Any]) -> str:
    """The README's section between its two markers."""
    summary = kept["valid_seen"]
    rows = [
        "| arm | | won | success [95%] | mean steps | s a game | better than base |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    what = {**WHAT, "teacher": "the search program that taught it"}
    for arm in ARMS:
        if (figures := summary["arms"].get(arm)) is None:
            continue
        low, high = interval(figures)
        against = figures.get("against_base")
        better = "" if against is None else f"{'yes' if against['better'] else 'cannot tell'}, p = {against['p']:.2g}"
        rows.append(
            f"| `{arm}` | {what[arm]} | {figures['won']}/{figures['games']} | "
            f"{figures['success']:.1%} [{low:.1%}, {high:.1%}] | {figures['steps_mean']:.1f} | "
            f"{figures['seconds_per_game']:.1f} | {better} |"
        )
    machine = summary["machine"]
    note = (
        f"{summary['games']} games of ALFWorld's {summary['split']} split, at most {summary['max_steps']} actions "
        f"each, greedy, from observations alone; {summary['model']} (135M parameters), k = {summary['k']}. In the mean "
        f"of steps a game that was not won counts {summary['max_steps']}; p is exact McNemar's on the same games. "
        f"Measured on Linux, {machine['chip']}, {machine['cores']} cores, MLX {machine['mlx']} on the "
        f"{machine['device']}, {summary['dtype']}."
    )
    second = [second_world(kept["scienceworld"]), ""] if "scienceworld" in kept else []
    return "\n".join([BEGIN, "", *rows, "", note, "", *second, END])


def second_world(summary: dict[str, Any]) -> str:
    arms = summary["arms"]
    won = ", ".join(f"`{arm}` {figures['won']}" for arm, figures in arms.items())
    scores = ", ".join(f"{figures['score_mean']:.2f}" for figures in arms.values())
    return (
        f"On ScienceWorld, {summary['games']} test games of short tasks, the same loop and student: {won} won, mean "
        f"scores {scores} ([docs/results.md](docs/results.md#scienceworld))."
    )


def with_block(readme: str, kept: dict[str, Any]) -> str:
    """The README's text with its results replaced."""
    head, rest = readme.split(BEGIN, 1)
    return head + block(kept) + rest.split(END, 1)[1]


def read_kept(folder: Path = KEPT) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def keep(kind: str, folders: list[Path], options: argparse.Namespace, into: Path = KEPT) -> Path:
    """Write what is kept of one measurement. Raises UsageError for other folders than the kind needs."""
    wanted = 2 if kind == "four_bits" else 1
    if len(folders) != wanted:
        raise UsageError(f"{kind} is made from {wanted} folder(s), not {len(folders)}.", "See --help.")
    if kind == "four_bits":
        found = kept_beside(*folders, options.adapter, options.memories)
    elif kind == "recipes":
        found = json.loads((folders[0] / "recipes.json").read_text(encoding="utf-8"))
    else:
        found = kept(folders[0], options.adapter, options.memories)
    into.mkdir(parents=True, exist_ok=True)
    path = into / f"{kind}.json"
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("folders", nargs="*", type=Path)
    for name in ("--adapter", "--memories"):
        parser.add_argument(name)
    options = parser.parse_args()
    if options.kind is not None:
        try:
            print(f"Kept: {keep(options.kind, options.folders, options)}", file=sys.stderr)
        except (DuomemError, OSError) as error:
            sys.exit(str(error))
    found = read_kept()
    README.write_text(with_block(README.read_text(encoding="utf-8"), found), encoding="utf-8")
    PAGE.write_text(results_page.page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
