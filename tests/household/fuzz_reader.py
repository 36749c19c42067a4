"""Damage game files in many ways; each has to be played or refused, quickly.

    python -m tests.household.fuzz_reader 50000

The suite runs a few of these. It prints the slowest file's seconds and the peak memory, and stops at the first fault.
"""

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from duomem_mlx.errors import DuomemError
from duomem_mlx.household import files, logic
from duomem_mlx.household.engine import FastGame
from duomem_mlx.household.generator import Generated, generate
from duomem_mlx.household.reader import read_problem
from tests.household.rooms import DOMAIN, GRAMMAR

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


def survives(game: Generated, chance: random.Random, folder: Path | None = None) -> bool:
    """Whether a damaged file of the game still plays; any error but DuomemError goes through."""
    grammar = files.with_task(GRAMMAR, game.task_line)
    record = {"pddl_domain": DOMAIN, "grammar": grammar, "pddl_problem": game.problem, "solvable": True}
    whole_file = folder is not None and chance.random() < 0.3
    if not whole_file:
        part = chance.choice(("grammar", "pddl_problem", "pddl_problem", "pddl_problem"))
        record[part] = damaged(record[part], chance)
    try:
        if folder is None:
            file = files.GameFile(record["pddl_domain"], record["grammar"], record["pddl_problem"])
        else:
            text = json.dumps(record)
            path = folder / files.GAME_FILE
            path.write_bytes((damaged(text, chance) if whole_file else text).encode(errors="surrogatepass"))
            file = files.read_game_file(path)
        logic.generation_of(file)
        play = FastGame(read_problem(file.problem), logic.MOVE, file.plain_task_line, "damaged", "")
    except DuomemError:
        return False
    for _ in range(20):
        assert isinstance(play.step(chance.choice(play.valid_commands())), str)
    return True


def main(count: int) -> None:
    games = [generate(seed) for seed in range(24)]
    slowest, played = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            begin = time.process_time()
            played += survives(games[seed % len(games)], random.Random(seed), Path(folder))
            slowest = max(slowest, time.process_time() - begin)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    print(f"{count} damaged files: {played} played, the rest refused; slowest {slowest:.3f} s, peak {peak_mb:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
