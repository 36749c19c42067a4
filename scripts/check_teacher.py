"""Does the search teacher win in rooms it has no counts of? The training games in folds of whole floor plans, each
played with counts made in all others; and generated games, with the counts that come with the package.

    python scripts/check_teacher.py [--folds 5] [--limit N] [--generated 1000] [--games-dir DIR] [--json]

Only `train` is looked at. The first row is the teacher as it is shipped, which has counts of every training room.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from count_places import count, visit

from duomem_mlx.environment import ordered
from duomem_mlx.household.environment import Household, household
from duomem_mlx.household.teacher.places import Places, from_json
from duomem_mlx.household.teacher.search import SearchTeacher
from duomem_mlx.teachers.record import attempt
from duomem_mlx.trajectory import Trajectory

MOST_STEPS = 30


def play(world: Household, games: Iterable[str], places: Places | None) -> list[Trajectory]:
    return [attempt(world, game, SearchTeacher(places), {"kind": "search"}, MOST_STEPS) for game in games]


def held_out(world: Household, games: Sequence[str], folds: int) -> Iterable[list[Trajectory]]:
    """What came of each fold of floor plans."""
    rooms = {game: visit(world.open(game)) for game in games}
    plans = sorted({world.place(game) for game in games})
    for fold in range(folds):
        out = set(plans[fold::folds])
        counts = count([room for game, room in rooms.items() if world.place(game) not in out])
        yield play(world, [game for game in games if world.place(game) in out], from_json(counts))


def row(name: str, played: Sequence[Trajectory]) -> dict[str, Any]:
    won = [t for t in played if t.won]
    return {
        "games": name,
        "played": len(played),
        "won": len(won),
        "success": round(len(won) / len(played), 4),
        "steps_mean_won": round(fmean(len(t.steps) for t in won), 2),
        "lost": [t.game for t in played if not t.won],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--generated", type=int, default=1000)
    parser.add_argument("--games-dir", type=Path)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    world = household(chosen.games_dir)
    games = ordered(world, "train", chosen.limit)
    folds = list(held_out(world, games, chosen.folds))
    rows = [
        row("all, counts of all", play(world, games, None)),
        *(row(f"fold {number} held out", played) for number, played in enumerate(folds, 1)),
        row("all, each held out", [one for played in folds for one in played]),
        row("generated", play(world, world.tasks(f"generated:7:{chosen.generated}"), None)),
    ]
    if chosen.json:
        print(json.dumps({"rows": rows}))
        return
    print(f"{'games':20} {'played':>6} {'won':>5} {'success':>8} {'steps':>6}")
    for r in rows:
        print(f"{r['games']:20} {r['played']:6} {r['won']:5} {r['success']:8.2%} {r['steps_mean_won']:6.2f}")


if __name__ == "__main__":
    main()
