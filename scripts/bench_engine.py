#!/usr/bin/env python3
"""How much faster the fast engine is than TextWorld, on the same games and commands in one run.

    python scripts/bench_engine.py --games train --count 10
    python scripts/bench_engine.py --read-all train

A first load is opening a game and its reset. Times are wall-clock means; the ratios are what the machine's load
cancels out of. Needs the extra `alfworld` and ALFWorld's data.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

from check_engine import any_valid

from duomem_mlx.environment import ordered
from duomem_mlx.household.engine import FastGame
from duomem_mlx.household.environment import Household


def seconds(call, *args):
    begin = time.perf_counter()
    result = call(*args)
    return time.perf_counter() - begin, result


def commands_of(game: FastGame, steps: int, seed: int) -> list[str]:
    """Random valid commands, one in ten of them refused; wins are gone on from in a new game."""
    rng = random.Random(f"{seed} {game.id}")
    commands = []
    for _ in range(steps):
        commands.append("go to nowhere 1" if rng.random() < 0.1 else any_valid(game, rng))
        game.step(commands[-1])
    return commands


def compare(args: argparse.Namespace) -> dict[str, float]:
    fast, reference = Household(args.games_dir), Household(args.games_dir, "textworld")
    total = dict.fromkeys(("load", "step", "step_valid", "snapshot", "restore", "tw_load", "tw_step"), 0.0)
    steps = 0
    game_ids = ordered(fast, args.games, args.count)
    reference.open(game_ids[0])  # imports TextWorld
    for game_id in game_ids:
        took, game = seconds(fast.open, game_id)
        total["load"] += took + seconds(game.reset)[0]
        took, slow = seconds(reference.open, game_id)
        total["tw_load"] += took + seconds(slow.reset)[0]
        commands = commands_of(game, args.steps, args.seed)
        played = []
        for command in commands:
            total["tw_step"] += seconds(slow.step, command)[0]
            played.append(command)
            if slow.done:
                break
        steps += len(played)
        for _ in range(args.repeats):
            game.reset()
            begin = time.perf_counter()
            for command in played:
                game.step(command)
            total["step"] += (time.perf_counter() - begin) / len(played) / args.repeats
            game.reset()
            begin = time.perf_counter()
            for command in played:
                game.step(command)
                game.valid_commands()
            total["step_valid"] += (time.perf_counter() - begin) / len(played) / args.repeats
        for _ in range(args.repeats):
            took, moment = seconds(game.snapshot)
            total["snapshot"] += took / args.repeats
            total["restore"] += seconds(game.restore, moment)[0] / args.repeats
    games = len(game_ids)
    means = {name: value / games for name, value in total.items()}
    means["tw_step"] = total["tw_step"] / steps
    return {
        "games": games,
        "steps": steps,
        **{f"{name}_us": value * 1e6 for name, value in means.items()},
        "times_faster_load": means["tw_load"] / means["load"],
        "times_faster_step": means["tw_step"] / means["step"],
        "times_faster_step_with_valid_commands": means["tw_step"] / means["step_valid"],
    }


def read_all(args: argparse.Namespace) -> dict[str, float]:
    household = Household(args.games_dir)

    def read() -> int:
        game_ids = household.tasks(args.read_all)
        for game_id in game_ids:
            household.open(game_id)
        return len(game_ids)

    first, count = seconds(read)
    again, _ = seconds(read)
    return {"games": count, "first_s": first, "again_s": again}


def table(figures: dict[str, float]) -> list[str]:
    if "again_s" in figures:
        return [f"{figures['games']} games read in {figures['first_s']:.2f} s, again in {figures['again_s']:.2f} s"]
    rows = [
        ("first load", "tw_load_us", "load_us", "times_faster_load"),
        ("step", "tw_step_us", "step_us", "times_faster_step"),
        ("step with valid commands", "tw_step_us", "step_valid_us", "times_faster_step_with_valid_commands"),
    ]
    return [
        f"{figures['games']} games, {figures['steps']} steps; microseconds",
        f"{'':26}{'TextWorld':>12}{'fast':>10}{'times faster':>14}",
        *(f"{what:26}{figures[tw]:12.0f}{figures[ours]:10.1f}{figures[ratio]:14.0f}" for what, tw, ours, ratio in rows),
        f"snapshot {figures['snapshot_us']:.1f}, restore {figures['restore_us']:.1f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", default="valid_seen")
    parser.add_argument("--games-dir", type=Path)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=20, help="how often the fast engine plays the same commands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--read-all", metavar="SPLIT", help="read every game of a split, twice, and nothing else")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = read_all(args) if args.read_all else compare(args)
    if args.json:
        print(json.dumps({name: round(value, 2) for name, value in figures.items()}))
    else:
        print("\n".join(table(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
