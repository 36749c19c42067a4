"""Are the memories a task recalls of use to it? The share of them that are of the same type of task, and about the same
object, found by the task's text (with and without several of one task) against drawn at random.

    python scripts/check_recall.py --memories BANK [--games valid_seen] [--limit 40] [--json]

Type and object are read from the games' names, for this check only: neither a search nor a prompt ever sees them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from duomem_mlx.environment import find_environment, ordered
from duomem_mlx.memory.bank import Bank, Hit
from duomem_mlx.memory.folders import find_bank

KS = (1, 4, 10)


def goal(game: str) -> tuple[str, str]:
    """Type and object out of `valid_seen/pick_and_place_simple-Box-None-Dresser-224/trial_…`."""
    kind, thing, *_ = Path(game).parts[1].split("-")
    return kind, thing


def shares(game: str, hits: Sequence[Hit]) -> tuple[float, float]:
    """(same type, same type and object) among the memories."""
    if not hits:
        return 0.0, 0.0
    kind, thing = goal(game)
    found = [goal(hit.memory.source.game) for hit in hits]
    return sum(k == kind for k, _ in found) / len(found), sum(f == (kind, thing) for f in found) / len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--memories", required=True)
    parser.add_argument("--games", default="valid_seen")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    household = find_environment("household", games_dir=None, engine="fast")
    games = ordered(household, chosen.games, chosen.limit)
    rows = []
    with Bank.open(find_bank(chosen.memories)) as bank:
        opened = [household.open(game) for game in games]
        asked = [bank.question(game.task, game.reset()) for game in opened]
        for k in KS:
            found = {
                "by task": bank.search_many(asked, k, games),
                "with copies": bank.search_many(asked, k, games, per_task=None),
                "at random": [bank.random(k, 0, exclude_game=game) for game in games],
            }
            for how, answers in found.items():
                pairs = [shares(game, hits) for game, hits in zip(games, answers, strict=True)]
                same_type, same_both = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
                rows.append({"k": k, "how": how, "same_type": same_type, "same_type_and_object": same_both})
    if chosen.json:
        print(json.dumps({"games": len(games), "rows": rows}))
        return
    print(f"{len(games)} games of {chosen.games}, memories of {chosen.memories}")
    print(f"{'k':>3}  {'recalled':11} {'same type':>10} {'and object':>11}")
    for row in rows:
        print(f"{row['k']:3}  {row['how']:11} {row['same_type']:10.1%} {row['same_type_and_object']:11.1%}")


if __name__ == "__main__":
    main()
