"""Damage game files in many ways; each has to be played or refused, quickly.

    python -m tests.household.fuzz_reader 50000

The suite runs a few of these. Games are opened as a user's call opens them, on a machine without TextWorld, which would
get what is whole but of other rules. It prints the slowest file's seconds and the peak memory, and stops at the first
fault.
"""

import json
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.environment import ordered
from duomem_mlx.errors import DuomemError
from duomem_mlx.household import files
from duomem_mlx.household.environment import Household
from duomem_mlx.household.generator import generate
from tests.household.rooms import DOMAIN, GRAMMAR, know_these_rules, without_textworld

NASTY = (
    "(", ")", "((((", "))))", ";", "?", "-", " - ", "\x00", "\x07", "\x1b[31m", "\u202e", "é", "İ", "\ud800", "\\",
    '"', "\\u0000", "{", "}", "[" * 500, "_bar_", "(:init", "(:goal", "(:objects", "x" * 5_000, " " * 5_000,
    "\n" * 500, "9" * 5_000, "(and ", "(= a b)", "agent1", "(openable)", "inreceptacle", "null", "true",
)  # fmt: skip


def damaged(text: str, chance: random.Random) -> str:
    """A text with one to four kinds of damage."""
    for _ in range(chance.randint(1, 4)):
        at, end = sorted((chance.randrange(len(text) + 1), chance.randrange(len(text) + 1)))
        near = min(end, at + chance.choice((1, 10, 200)))
        match chance.randrange(9):
            case 0:
                text = text[:at]
            case 1:
                text = text[:at] + text[near:]
            case 2:
                text = text[:at] + chance.choice(NASTY) + text[at:]
            case 3:
                text = text[:near] + text[at:]
            case 4:
                text = text[:at] + chance.choice(NASTY) + text[near:]
            case 5:
                lines = text.split("\n")
                chance.shuffle(lines)
                text = "\n".join(lines)
            case 6:
                lines = text.split("\n")
                del lines[chance.randrange(len(lines))]
                text = "\n".join(lines)
            case 7:
                words = text.split(" ")
                a, b = chance.randrange(len(words)), chance.randrange(len(words))
                words[a], words[b] = words[b], words[a]
                text = " ".join(words)
            case 8:
                text = text.replace(
                    chance.choice(("_bar_", "Type", "(", ")", "loc", "receptacle")), chance.choice(NASTY)
                )
        text = text[: 2 * files.LARGEST_BYTES]
    return text


def originals(alfworld: int = 0) -> list[dict[str, Any]]:
    """Whole games: generated ones under short rules, and some of ALFWorld's where its data is."""
    records = []
    for game in map(generate, range(24)):
        grammar = files.with_task(GRAMMAR, game.task_line)
        records.append({"pddl_domain": DOMAIN, "grammar": grammar, "pddl_problem": game.problem, "solvable": True})
    household = Household()
    if alfworld and (household.root / files.DATA_FOLDER / "train").is_dir():
        for game_id in ordered(household, "train", alfworld):
            records.append(json.loads((household.locate(game_id)[1] / files.GAME_FILE).read_bytes()))
    return records


def survives(original: dict[str, Any], chance: random.Random, folder: Path) -> str:
    """Damage a game and open it as a user's call would: "played" or "refused"; any error but DuomemError goes
    through."""
    if chance.random() < 0.3:
        text = damaged(json.dumps(original), chance)
    else:
        part = chance.choice(("pddl_domain", "grammar", "pddl_problem", "pddl_problem", "pddl_problem"))
        text = json.dumps({**original, part: damaged(original[part], chance)})
    place = folder / f"{chance.getrandbits(64):x}"
    place.mkdir()
    try:
        (place / files.GAME_FILE).write_bytes(text.encode(errors="surrogatepass"))
        game = Household().open(str(place))
    except DuomemError:
        return "refused"
    finally:
        shutil.rmtree(place)
    for _ in range(20):
        assert isinstance(game.step(chance.choice(game.valid_commands())), str)
    return "played"


def main(count: int) -> None:
    games = originals(alfworld=24)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        know_these_rules(patch)
        without_textworld(patch)
        for seed in range(count):
            begin = time.process_time()
            outcomes[survives(games[seed % len(games)], random.Random(seed), Path(folder))] += 1
            slowest = max(slowest, time.process_time() - begin)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
    print(f"{count} damaged files of {len(games)} games: {told}; slowest {slowest:.3f} s, peak {peak_mb:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
