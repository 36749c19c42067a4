#!/usr/bin/env python3
"""Whether generated games are what they are said to be, one line for each claim.

    python scripts/check_generator.py                      # 1,000 games; TextWorld plays 60 of them
    python scripts/check_generator.py --first 5000 --count 1000 --textworld 0 --json

Timed is making the games; then each is won by a plan made with full knowledge, played step by step in a new game; made
once more in other processes, with other hash seeds, all must be the same to the byte; no room may hold the same places
with the same things as one of ALFWorld's (where its data is) or another generated one. TextWorld plays its games along
with the fast engine, and its planner finds a way that wins. Exit status 1 when something does not hold.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from check_engine import Job, compare, read

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.household import files
from duomem_mlx.household.engine import FastGame
from duomem_mlx.household.environment import Household
from duomem_mlx.household.generator import Generated, generate
from duomem_mlx.household.logic import MOVE
from duomem_mlx.household.reader import read_problem
from duomem_mlx.household.solution import solve

PLANNER_SECONDS = 900  # of computing; its search has no bound and, in the midst of C++, hears no signal


def made(first: int, count: int) -> list[Generated]:
    return [generate(seed) for seed in range(first, first + count)]


def digest(first: int, count: int) -> str:
    games = made(first, count)
    texts = [json.dumps([game.folder, game.task_line, game.problem, game.record()]) for game in games]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def elsewhere(call: str, *numbers: int, hash_seed: str = "0") -> str:
    """What a function of this module says in a process of its own, or what became of that process."""
    surroundings = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", f"from check_generator import *; print({call}(*{numbers}))"]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else f"ended with {done.returncode}. {done.stderr}".strip()


def new_game(game: Generated) -> FastGame:
    return FastGame(read_problem(game.problem), MOVE, game.task_line, f"generated:{game.seed}", "generated")


def is_won_by_plan(game: Generated) -> bool:
    """Whether a plan wins in a new game, with its last command and not before."""
    try:
        plan = solve(new_game(game))
    except DuomemError:
        return False
    replayed = new_game(game)
    won = []
    for command in plan:
        replayed.step(command)
        won.append(replayed.won)
    return won.index(True) == len(plan) - 1 if True in won else False


def furnished(problem: str) -> tuple[object, ...]:
    """What tells a room: its places and the things in each, by their kinds, wherever they may stand."""
    world = read_problem(problem)
    places = [
        (world.place_type[place], tuple(sorted(world.thing_type.get(thing, "") for thing in inside)))
        for place, inside in world.start.contents.items()
    ]
    return tuple(sorted(places))


def alfworlds_rooms(household: Household) -> set[tuple[object, ...]]:
    rooms = set()
    for split in files.SPLITS:
        try:
            ids = household.tasks(split)
        except UsageError:
            continue
        rooms |= {furnished(files.read_game_file(household.locate(id_)[1] / files.GAME_FILE).problem) for id_ in ids}
    return rooms


def along(seed: int) -> str:
    """What is wrong with a game when TextWorld plays it along with the fast engine, the way of TextWorld's planner
    among what is played; "" when nothing is."""
    resource.setrlimit(resource.RLIMIT_CPU, (PLANNER_SECONDS, PLANNER_SECONDS))
    file, _ = read(Household(), f"generated:{seed}")
    outcome = compare(Job(f"generated:{seed}", file, None, "walkthrough", 80, seed, parse_once=True))
    return outcome.difference or ("" if outcome.won else "TextWorld's planner found no way")


def in_textworld(seed: int) -> str:
    """`along` in a process of its own, which ends when the planner takes too long; what is wrong, or ""."""
    fault = elsewhere("along", seed)
    return f"generated:{seed}: {fault}" if fault else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--textworld", type=int, default=60, metavar="N", help="games for TextWorld, from all of them")
    parser.add_argument("--games-dir", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    begin = time.perf_counter()
    games = made(args.first, args.count)
    seconds = time.perf_counter() - begin
    figures: dict[str, float] = {"games": len(games), "seconds": round(seconds, 2)}
    figures["won_by_plan"] = sum(map(is_won_by_plan, games))
    ours = digest(args.first, args.count)
    others = [elsewhere("digest", args.first, args.count, hash_seed=hash_seed) for hash_seed in "07"]
    figures["same_bytes"] = others.count(ours)
    rooms = [furnished(game.problem) for game in games]
    theirs = alfworlds_rooms(Household(args.games_dir))
    figures["rooms"] = len(set(rooms))
    figures["alfworld_rooms"] = len(theirs)
    figures["rooms_of_alfworld"] = len(theirs.intersection(rooms))
    faults = []
    if args.textworld:
        seeds = [games[place * len(games) // args.textworld].seed for place in range(args.textworld)]
        with ThreadPoolExecutor(args.jobs) as threads:
            for fault in filter(None, threads.map(in_textworld, seeds)):
                print(fault, file=sys.stderr, flush=True)
                faults.append(fault)
        figures["in_textworld"], figures["alike_and_won"] = len(seeds), len(seeds) - len(faults)
    if args.json:
        print(json.dumps(figures))
    else:
        print(f"{len(games)} games made in {seconds:.2f} s; {figures['won_by_plan']} won by a plan, replayed")
        print(f"the same bytes in {figures['same_bytes']} of 2 other processes; {len(set(rooms))} different rooms")
        print(f"{figures['rooms_of_alfworld']} of them equal one of ALFWorld's {len(theirs)}")
        if args.textworld:
            print(f"TextWorld: {figures['alike_and_won']} of {len(seeds)} played alike, won, and solved by its planner")
    held = figures["won_by_plan"] == figures["rooms"] == len(games) and figures["same_bytes"] == 2
    return 0 if held and not figures["rooms_of_alfworld"] and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
