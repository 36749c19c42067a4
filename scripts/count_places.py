"""Count where things are found: visit every place of every training game and write household/teacher/places.json.

    python scripts/count_places.py [--games-dir DIR] [--engine fast|textworld] [--limit N]

Only what the games say is counted, as one who plays them sees it; a game's file is never looked into.
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import duomem_mlx.household.teacher
from duomem_mlx.environment import Game, ordered
from duomem_mlx.household.environment import household
from duomem_mlx.household.teacher.seen import Room, class_of
from duomem_mlx.paths import write_text

OUT = Path(duomem_mlx.household.teacher.__file__).parent / "places.json"
SOURCE = (
    "What was seen while every place of ALFWorld's training games (json_2.1.1, split train) was visited and opened. "
    "ALFWorld (https://github.com/alfworld/alfworld) is under the MIT licence, Copyright (c) 2020 Mohit Shridhar and "
    "others."
)


def visit(game: Game) -> Room:
    """The room after every place was gone to and, where that can be done, opened."""
    room = Room(game.reset())
    for place in room.places:
        for action in (f"go to {place}", f"open {place}", f"examine {place}"):
            if place not in room.inside:
                room.read(action, game.step(action))
    return room


def count(rooms: "list[Room]") -> dict[str, object]:
    """See `places.Places` for what the pairs mean."""
    closed: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    held: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for room in rooms:
        looked_into = Counter(class_of(place) for place in room.inside)
        for place in room.inside:
            closed[class_of(place)][0] += place in room.open
            closed[class_of(place)][1] += 1
        kinds_in = {place: {class_of(thing) for thing in things} for place, things in room.inside.items()}
        for kind in set().union(*kinds_in.values()):
            for place_kind, looks in looked_into.items():
                held[kind][place_kind][1] += looks
            for place, kinds in kinds_in.items():
                held[kind][class_of(place)][0] += kind in kinds
    return {"closed": closed, "held": held}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games-dir", type=Path)
    parser.add_argument("--engine", default="fast")
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    environment = household(options.games_dir, options.engine)
    tasks = ordered(environment, "train", options.limit)
    counts = count([visit(environment.open(task)) for task in tasks])
    lines = [f'"format": 1,\n"source": {json.dumps(SOURCE)},\n"games": {len(tasks)}']
    for name, table in counts.items():
        rows = ",\n".join(f"  {json.dumps(key)}: {json.dumps(table[key], sort_keys=True)}" for key in sorted(table))
        lines.append(f'"{name}": {{\n{rows}\n}}')
    write_text(OUT, "{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(tasks)} games: {OUT}")


if __name__ == "__main__":
    main()
