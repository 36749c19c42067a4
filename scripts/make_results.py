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
import sys
from pathlib import Path
from typing import Any

import results_page
from results_kept import as_kept, kept, kept_beside, kept_recipes
from results_wanted import KINDS, refuse_others

from duomem_mlx.cli.main import status
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.evaluation.arms import DEFAULT_ARMS, TEACHER
from duomem_mlx.evaluation.results import interval
from duomem_mlx.paths import read_json, write_json, write_text
from duomem_mlx.report.sections import WHAT

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "results"
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
BEGIN, END = "<!-- results: scripts/make_results.py -->", "<!-- end of results -->"
ARMS = (*DEFAULT_ARMS, TEACHER)  # of the README


def block(found: dict[str, Any]) -> str:
    """The README's section between its two markers."""
    ladder = [*of_ladder(found["valid_seen"]), ""] if "valid_seen" in found else []
    seeds = [of_seeds(found["seeds"], found["valid_seen"]["arms"]), ""] if {"seeds", "valid_seen"} <= set(found) else []
    second = [second_world(found["scienceworld"]), ""] if "scienceworld" in found else []
    return "\n".join([BEGIN, "", *ladder, *seeds, *second, END])


def of_ladder(summary: dict[str, Any]) -> list[str]:
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
    where = f"{machine['system'].split()[0]}, {machine['chip']}, {machine['cores']} cores"
    note = (
        f"{summary['games']} games of ALFWorld's {summary['split']} split, at most {summary['max_steps']} actions "
        f"each, greedy, from observations alone; {summary['model']} (135M parameters), k = {summary['k']}. In the mean "
        f"of steps a game that was not won counts {summary['max_steps']}; p is exact McNemar's on the same games. "
        f"Seconds are a game's share of the passes it was in where {summary['batch_size']} are played together (of "
        f"passes that cores compute at once, each counts), on {where}, MLX {machine['mlx']} on the "
        f"{machine['device']}, {summary['dtype']}."
    )
    return [*rows, "", note]


def of_seeds(summary: dict[str, Any], ladder: dict[str, Any]) -> str:
    """What other draws of the same training came to, and what memories add over all of them."""
    arms = summary["arms"]
    won = {arm: [one["won"] for one in arms[arm]["seeds"].values()] for arm in ("adapter", "duomem")}
    alone, both = (", ".join(map(str, of_each)) for of_each in won.values())
    first = ", the first of them the one above," if all(won[arm][0] == ladder[arm]["won"] for arm in won) else ""
    found = summary["paired"]["adapter against duomem"]
    low, high = (100 * bound for bound in found["difference95"])
    return (
        f"Trainings of seeds {', '.join(arms['adapter']['seeds'])}{first} won {alone} of "
        f"the {summary['games']} games with the adapter alone and {both} with both: memories add "
        f"{100 * found['difference']:+.1f} points [{low:+.1f}, {high:+.1f}] to the trained student, "
        f"p = {found['p']:.2g} ([docs/results.md](docs/results.md#training-seeds))."
    )


def second_world(summary: dict[str, Any]) -> str:
    arms = summary["arms"]
    won = ", ".join(f"`{arm}` {figures['won']}" for arm, figures in arms.items())
    scores = ", ".join(f"{figures['score_mean']:.2f}" for figures in arms.values())
    return (
        f"On ScienceWorld, {summary['games']} test games of short tasks, the same loop and student: {won} won, mean "
        f"scores {scores} ([docs/results.md](docs/results.md#scienceworld))."
    )


def with_block(readme: str, found: dict[str, Any]) -> str:
    """The README's text with its results replaced."""
    head, begun, rest = readme.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not (begun and ended):
        raise DuomemError(f"README.md lacks the lines {BEGIN} and {END}.", "Put them round the place of its table.")
    return head + block(found) + tail


def read_kept() -> dict[str, Any]:
    return {path.stem: as_kept(path, read_json(path, "measurement")) for path in sorted(KEPT.glob("*.json"))}


def taken(kind: str, folders: list[Path], adapter: str | None, memories: str | None) -> dict[str, Any]:
    """What is kept of one measurement. Raises UsageError for another number of folders than the kind needs, and what
    reading them raises."""
    wanted = 2 if kind == "four_bits" else 1
    if len(folders) != wanted:
        raise UsageError(f"{kind} is made from {wanted} folder(s), not {len(folders)}.", "See --help.")
    if kind == "four_bits":
        return kept_beside(*folders, adapter, memories)
    if kind == "recipes":
        return kept_recipes(folders[0])
    return kept(folders[0], adapter, memories)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", choices=KINDS)
    parser.add_argument("folders", nargs="*", type=Path)
    for name in ("--adapter", "--memories"):
        parser.add_argument(name)
    options = parser.parse_args()
    found = read_kept()
    if options.kind is not None:
        measured = taken(options.kind, options.folders, options.adapter, options.memories)
        refuse_others(options.kind, measured, found)
        found[options.kind] = measured
    elif options.adapter or options.memories:
        parser.error("--adapter and --memories say where those of a measurement lie: name its kind and folder too")
    readme, page = with_block(README.read_text(encoding="utf-8"), found), results_page.page(found)
    if options.kind is not None:
        path = KEPT / f"{options.kind}.json"
        write_json(path, found[options.kind])
        print(f"Kept: {path}", file=sys.stderr)
    write_text(README, readme)
    write_text(PAGE, page)


if __name__ == "__main__":
    sys.exit(status(main))
