#!/usr/bin/env python3
"""Play the same games on both engines and report the first difference of each.

    python scripts/check_engine.py --games train --count 300 --steps 50 --jobs 2
    python scripts/check_engine.py --games valid_seen --generation put --old-logic FOLDER

At every step the text, the sorted valid commands and the verdict must be equal. `--generation put` plays each problem
under ALFWorld 2.1.1's rules, with `alfred.pddl` and `alfred.twl2` from `--old-logic`. Needs the extra `alfworld` and,
for other than generated games, ALFWorld's data. Exit status 1 when there was a difference.
"""

import argparse
import copy
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

from nonsense import ODD, about, slip

from duomem_mlx.environment import ordered
from duomem_mlx.household import files
from duomem_mlx.household.engine import FastGame
from duomem_mlx.household.environment import Household
from duomem_mlx.household.generator import generate
from duomem_mlx.household.logic import generation_of
from duomem_mlx.household.reader import read_problem
from duomem_mlx.household.textworld_engine import TextWorldGame, installed_rules

Command = str | int  # a number goes back to when so many commands had been given


# -- what is done ------------------------------------------------------------------------------------------------


def any_valid(game: FastGame, rng: random.Random) -> str:
    """A valid command, each verb as likely as the next: nearly all commands are "go to"."""
    commands = game.valid_commands()
    verb = rng.choice(sorted({command.split()[0] for command in commands}))
    return rng.choice([command for command in commands if command.split()[0] == verb])


def random_valid(game: FastGame, reference: TextWorldGame, rng: random.Random) -> Iterator[Command]:
    while True:
        yield any_valid(game, rng)


def walkthrough(game: FastGame, reference: TextWorldGame, rng: random.Random) -> Iterator[Command]:
    """Some wandering, all of it taken back, then the planner's way to the goal, and some commands after the end."""
    for _ in range(rng.randrange(1, 30)):
        yield any_valid(game, rng)
    yield 0  # from the midst of a game its search can take for ever
    yield from reference.plan()
    while True:
        yield any_valid(game, rng)


def expert(game: FastGame, reference: TextWorldGame, rng: random.Random) -> Iterator[Command]:
    """ALFWorld's hand-coded expert, which speaks of moving only."""
    from alfworld.agents.expert import HandCodedTWAgent

    put, between = game.rules.put_words

    def modern(command: str) -> str:
        return command.replace("put ", "move ", 1).replace(between, " to ") if command.startswith("put ") else command

    backend, state = reference._environment.unwrapped, reference._state
    agent = HandCodedTWAgent(max_steps=1000)
    agent.reset(str(SPEC_FOLDERS[game.id] / files.GAME_FILE))
    agent.observe(state["feedback"])
    last = "look"
    yield last
    while True:
        state = reference._state
        facts = [backend._get_human_readable_fact(fact) for fact in backend._pddl_state.facts]
        seen = {
            "facts": facts,
            "feedback": state["feedback"],
            "admissible_commands": [modern(command) for command in state["admissible_commands"]],
        }
        try:
            random.seed(rng.random())
            wanted = agent.act(seen, 0, False, last)
        except Exception:  # it gives up in many ways
            yield from random_valid(game, reference, rng)
            return
        if wanted not in seen["admissible_commands"]:
            wanted = "look"
        last = wanted
        yield wanted.replace("move ", f"{put} ", 1).replace(" to ", between) if wanted.startswith("move ") else wanted


def nonsense(game: FastGame, reference: TextWorldGame, rng: random.Random) -> Iterator[Command]:
    """Odd commands, and commands a slip away from real ones; now and then a real one, to get about."""
    ids = list(reference._environment.unwrapped._entity_infos)  # what things are called in the problem
    names = [*game.world.thing_named, *game.world.place_named]
    while True:
        choice = rng.random()
        if choice < 0.35:
            yield any_valid(game, rng)
        elif choice < 0.5:
            yield rng.choice(ODD)
        elif choice < 0.65:
            # Words of what can be done here, each valid for something else.
            near = [name for name in names if any(name in command for command in valid_here(game))]
            yield about(near or names, rng)
        elif choice < 0.75:
            yield about([*names, *ids], rng)
        else:
            yield slip(any_valid(game, rng), rng)


def valid_here(game: FastGame) -> list[str]:
    return [command for command in game.valid_commands() if not command.startswith("go to ")]


def rewind(game: FastGame, reference: TextWorldGame, rng: random.Random) -> Iterator[Command]:
    """Random, and now and then back: the fast engine to a moment it kept, TextWorld by playing it all again."""
    given = 0
    while True:
        if rng.random() < 0.12:
            given = rng.randrange(min(given, 8) + 1)
            yield given
        else:
            given += 1
            yield any_valid(game, rng)


POLICIES: dict[str, Callable[[FastGame, TextWorldGame, random.Random], Iterator[Command]]] = {
    "random": random_valid,
    "expert": expert,
    "walkthrough": walkthrough,
    "nonsense": nonsense,
    "rewind": rewind,
}


# -- playing -----------------------------------------------------------------------------------------------------

SPEC_FOLDERS: dict[str, Path] = {}


@dataclass(frozen=True)
class Job:
    game_id: str
    file: files.GameFile
    folder: Path | None
    policy: str
    steps: int
    seed: int
    parse_once: bool = False


@dataclass(frozen=True)
class Outcome:
    job: Job
    steps: int
    won: bool
    difference: str
    seconds: tuple[float, float]  # in the fast engine, in TextWorld


def compare(job: Job) -> Outcome:
    rules = generation_of(job.file)
    if rules is None:
        return Outcome(job, 0, False, "the rules are of neither generation", (0, 0))
    if job.folder:
        SPEC_FOLDERS[job.game_id] = job.folder
    world = read_problem(job.file.problem)
    fast = FastGame(world, rules, job.file.plain_task_line, job.game_id, "")
    reference = TextWorldGame(job.file, job.game_id, "")
    if job.parse_once:
        parse_once()
    spent = [0.0, 0.0]

    def both(call: Callable[[Any], str], command: str) -> str:
        seen = []
        for place, game in enumerate((fast, reference)):
            begin = time.perf_counter()
            text = call(game)
            spent[place] += time.perf_counter() - begin
            seen.append({"text": text, "won": game.won, "done": game.done, "valid": game.valid_commands()})
        if seen[0] == seen[1]:
            return ""
        what = [key for key in seen[0] if seen[0][key] != seen[1][key]]
        lines = [f"{job.game_id} ({rules.name}, {job.policy}, seed {job.seed}) after {command!r}:"]
        for key in what:
            lines += [f"  {key}, fast:      {seen[0][key]!r}", f"  {key}, textworld: {seen[1][key]!r}"]
        return "\n".join(lines)

    given: list[str] = []

    def again(game: FastGame | TextWorldGame) -> str:
        if game is fast and given:
            fast.restore(moments[-1])
            return moments[-1].told
        text = game.reset()
        for command in given:
            text = game.step(command)
        return text

    difference = both(again, "reset")
    moments = [fast.snapshot()]
    rng = random.Random(f"{job.seed} {job.game_id} {job.policy}")
    steps = 0
    commands = POLICIES[job.policy](fast, reference, rng)
    while not difference and steps < job.steps:
        command = next(commands)
        if isinstance(command, int):
            del given[command:], moments[command + 1 :]
            difference = both(again, f"{given}, to which both went back")
        else:
            difference = both(lambda game, command=command: game.step(command), command)
            given.append(command)
            moments.append(fast.snapshot())
        steps += 1
    return Outcome(job, steps, fast.won, difference, (spent[0], spent[1]))


def read(household: Household, game_id: str) -> tuple[files.GameFile, Path | None]:
    if not game_id.startswith("generated:"):
        _, folder = household.locate(game_id)
        return files.read_game_file(folder / files.GAME_FILE), folder
    game = generate(int(game_id.split(":")[1]))
    domain, grammar = installed_rules()
    return files.GameFile(domain, files.with_task(grammar, game.task_line), game.problem), None


def parse_once() -> None:
    """Let TextWorld parse each text of its grammar once: more than half of its time goes into parsing the same few
    again and again. What it makes of them is as before."""
    from textworld.envs.pddl import textgen
    from textworld.logic import Rule

    if hasattr(textgen._parse_and_convert, "__wrapped__"):
        return
    parse, query = textgen._parse_and_convert, lru_cache(maxsize=None)(Rule.parse_conjunctive_query)
    parsed: dict[str, Any] = {}

    @wraps(parse)
    def remembered(text: str, **options: Any) -> Any:
        if text not in parsed:
            parsed[text] = parse(text, **options)
        return copy.deepcopy(parsed[text])

    textgen._parse_and_convert = remembered
    Rule.parse_conjunctive_query = staticmethod(query)


def old_rules(file: files.GameFile, logic: Path) -> files.GameFile:
    """The same problem and task under other rules."""
    domain, grammar = ((logic / name).read_text(encoding="utf-8") for name in ("alfred.pddl", "alfred.twl2"))
    return files.GameFile(domain, files.with_task(grammar, file.task_line), file.problem)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", default="valid_seen", help="a split, a folder or a file")
    parser.add_argument("--games-dir", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--skip", type=int, default=0, help="leave out the first N of the constant order")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--policy", choices=(*POLICIES, "all"), help="default: each game gets the next one")
    parser.add_argument("--generation", choices=("own", "put"), default="own")
    parser.add_argument("--old-logic", type=Path, help="folder with ALFWorld 2.1.1's alfred.pddl and alfred.twl2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--parse-once", action="store_true", help="spare TextWorld parsing the same texts again")
    args = parser.parse_args()
    if args.generation == "put" and not args.old_logic:
        parser.error("--generation put needs --old-logic")

    household = Household(args.games_dir)
    jobs = []
    for place, game_id in enumerate(ordered(household, args.games)[args.skip : args.skip + args.count]):
        file, folder = read(household, game_id)
        if args.generation == "put":
            file = old_rules(file, args.old_logic)
        able = [policy for policy in POLICIES if folder or policy != "expert"]  # the expert reads traj_data.json
        policies = able if args.policy == "all" else [args.policy or able[place % len(able)]]
        jobs += [Job(game_id, file, folder, policy, args.steps, args.seed, args.parse_once) for policy in policies]

    done: Counter[str] = Counter()
    fast_s = reference_s = 0.0
    differences = 0
    # A process plays one game after another and is then replaced: the planner's library grows.
    with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=10) as pool:
        for number, outcome in enumerate(pool.imap_unordered(compare, jobs), 1):
            done[f"{outcome.job.policy} games"] += 1
            done["steps"] += outcome.steps
            done["won"] += outcome.won
            fast_s += outcome.seconds[0]
            reference_s += outcome.seconds[1]
            if outcome.difference:
                differences += 1
                print(outcome.difference, flush=True)
            if number % 50 == 0:
                print(f"{number}/{len(jobs)} games, {differences} differences", file=sys.stderr, flush=True)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(done.items()))
    print(f"{len(jobs)} games, {counts}: {differences} differences")
    print(f"seconds in step and reset: fast {fast_s:.2f}, TextWorld {reference_s:.1f}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
