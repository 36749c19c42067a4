"""What makes a student good: recipes that differ from a plain one in one thing each, on whole floor plans held out.

    python scripts/compare_recipes.py FOLDER --trajectories TEACH [--only NAME …] [--games 100] [--list] [--json]

TEACH is what `duomem-mlx teach --teacher search --games train` wrote. Floor plans are held out as by `train` with
`--held-out 0.03 --seed 0`. A recipe is two commands, which it prints: `train` on 600 of the other games, 150 steps of
four rows, and `evaluate` on the first `--games` held-out ones. The same call goes on where it stopped. The table
compares each with `plain`, on the same games, by McNemar's exact test; valid_seen is never read.
"""

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHARE, SEED = 0.03, 0
PLAIN = "plain"


@dataclass(frozen=True)
class Recipe:
    """What differs from the plain one."""

    what: str
    teach: str = ""  # words of `teach`, where the trajectories are others
    train: str = ""
    evaluate: str = "--arm adapter"
    first: int = 600  # games of the order that all commands use


RECIPES = {
    PLAIN: Recipe("600 games once, compact text, actions alone, rank 16, no memories"),
    "chat": Recipe("the model's chat template in place of the compact text", train="--prompt-style chat"),
    "half": Recipe("half the games, twice", train="--epochs 2", first=300),
    "solutions": Recipe("half the games, two solutions of each", teach="--games train --solutions 2", first=300),
    "generated": Recipe("generated games in place of ALFWorld's", teach="--games generated:1:600"),
    "memories": Recipe("rows show 0 to 2 memories, and so do games", train="--k 2", evaluate="--arm duomem --k 2"),
    "memories-unused": Recipe("the same adapter without memories", train="--k 2"),
    "untaught-memories": Recipe("the plain adapter with two memories", evaluate="--arm duomem --k 2"),
    "rank-4": Recipe("rank 4: 1.2M parameters", train="--rank 4"),
    "rank-32": Recipe("rank 32: 9.8M parameters", train="--rank 32"),
    "batch-8": Recipe("75 steps of eight rows", train="--batch-size 8"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trajectories", type=Path)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--games", type=int, default=100)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:18} {recipe.what}" for name, recipe in RECIPES.items()))
        return
    if options.trajectories is None:
        parser.error("--trajectories is needed: what `duomem-mlx teach` wrote")
    held_out(options.folder, options.trajectories)
    for name in options.only:
        try:
            follow(options.folder, name, options.games)
        except subprocess.CalledProcessError as error:
            sys.exit(f"{name} stopped with {error.returncode}; the same call goes on.")
    found = table(options.folder)
    print(json.dumps(found) if options.json else text_of(found))


def held_out(folder: Path, trajectories: Path) -> None:
    """Lay the training games out as two data folders, `held-out` and `others`, with the trajectories of the others in
    `teach`, in the order of all commands."""
    from duomem_mlx.environment import find_environment, ordered
    from duomem_mlx.household.files import DATA_FOLDER, data_folder
    from duomem_mlx.training.rows import split_held_out
    from duomem_mlx.trajectory import read_trajectories, to_record

    if (folder / "teach" / "trajectories.jsonl").is_file():
        return
    environment: Any = find_environment("household")
    file = trajectories / "trajectories.jsonl" if trajectories.is_dir() else trajectories
    taught = [one for one in read_trajectories(file) if one.won]
    kept, held = split_held_out(taught, SHARE, lambda one: environment.place(one.game), SEED)
    plans = {environment.place(one.game) for one in held}
    order = ordered(environment, "train")
    below = data_folder() / DATA_FOLDER
    for game in order:
        part = "held-out" if environment.place(game) in plans else "others"
        place = folder / part / DATA_FOLDER / game
        place.mkdir(parents=True, exist_ok=True)
        for source in (below / game).iterdir():
            if not (place / source.name).exists():
                (place / source.name).symlink_to(source.resolve())
    by_game = {one.game: one for one in kept}
    (folder / "teach").mkdir(parents=True, exist_ok=True)
    part = folder / "teach" / "part"
    part.write_text("".join(json.dumps(to_record(by_game[game])) + "\n" for game in order if game in by_game))
    part.replace(folder / "teach" / "trajectories.jsonl")


def follow(folder: Path, name: str, games: int) -> None:
    recipe = RECIPES[name]
    taught = folder / "teach" / f"first-{recipe.first}.jsonl"
    if recipe.teach:
        taught = folder / f"teach-{name}"
        where = ("--games-dir", folder / "others") if "--games train" in recipe.teach else ()
        run("teach", "--teacher", "search", *recipe.teach.split(), "--limit", recipe.first, *where, "--out", taught)
    elif not taught.is_file():
        lines = (folder / "teach" / "trajectories.jsonl").read_text().splitlines(keepends=True)
        taught.write_text("".join(lines[: recipe.first]))
    bank = folder / "bank"
    if "--k" in recipe.train + recipe.evaluate and not bank.is_dir():
        run("memories", "build", folder / "teach" / "trajectories.jsonl", "--thin", 1, "--out", bank)
    with_memories = ("--memories", bank if "--k" in recipe.train else "none")
    trained = "memories" if name == "memories-unused" else PLAIN if name == "untaught-memories" else name
    adapter = folder / "adapters" / trained
    size = () if "--batch-size" in recipe.train else ("--batch-size", 4)
    # fmt: off
    run("train", taught, *with_memories, "--held-out", 0, *size, *recipe.train.split(), "--out", adapter)
    run("evaluate", "--games", "train", "--games-dir", folder / "held-out", "--limit", games, "--adapter", adapter,
        "--memories", bank if "--k" in recipe.evaluate else "none", *recipe.evaluate.split(), "--batch-size", 24,
        "--out", folder / "results" / f"{name}-{games}")
    # fmt: on


def run(*words: object) -> None:
    call = [sys.executable, "-m", "duomem_mlx", *map(str, words)]
    print("$ duomem-mlx", shlex.join(call[3:]), file=sys.stderr, flush=True)
    subprocess.run(call, check=True, stdout=sys.stderr)


def table(folder: Path) -> dict[str, Any]:
    """Every recipe that has been followed, on the games that it and the plain one both played."""
    from duomem_mlx.evaluation.results import read_episodes
    from duomem_mlx.evaluation.statistics import discordant, mcnemar, wilson

    verdicts: dict[str, dict[str, bool]] = {}
    found: dict[str, Any] = {}
    for name in RECIPES:
        episodes = [
            episode
            for results in sorted((folder / "results").glob(f"{name}-[0-9]*"))
            for seeds in read_episodes(results).values()
            for episode in seeds.get(0, [])
        ]
        if not episodes:
            continue
        verdicts[name] = {one.game: one.won for one in episodes}
        won, games = sum(verdicts[name].values()), len(verdicts[name])
        plain_alone, alone = discordant(verdicts.get(PLAIN, {}), verdicts[name])
        steps = [step for one in episodes for step in one.steps]
        found[name] = {
            "what": RECIPES[name].what,
            "games": games,
            "won": won,
            "wilson95": [round(bound, 4) for bound in wilson(won, games)],
            "steps_mean": round(sum(len(one.steps) if one.won else 30 for one in episodes) / len(episodes), 2),
            "refused": round(sum("refused" in step.flags for step in steps) / max(1, len(steps)), 4),
            "seconds_per_game": round(sum(one.seconds for one in episodes) / len(episodes), 2),
            "alone": alone,
            "plain_alone": plain_alone,
            "p": mcnemar(plain_alone, alone),
        }
    return found


def text_of(found: dict[str, Any]) -> str:
    lines = [f"{'':18} {'won':>8}  {'95%':>14}  {'steps':>5}  {'refused':>7}  {'alone':>7}  {'p':>6}"]
    for name, of in found.items():
        low, high = of["wilson95"]
        lines.append(
            f"{name:18} {of['won']:4}/{of['games']:<3}  {low:6.1%}–{high:6.1%}  {of['steps_mean']:5.2f}"
            f"  {of['refused']:7.1%}  {of['alone']:3}:{of['plain_alone']:<3}  {of['p']:6.3f}  {of['what']}"
        )
    return "\n".join([*lines, "alone: games won by this recipe and not by plain : the other way round"])


if __name__ == "__main__":
    main()
