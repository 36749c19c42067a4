"""What makes a student good: recipes that differ from another in one thing each, on whole floor plans held out.

    python scripts/compare_recipes.py FOLDER --trajectories TEACH [--only NAME …] [--plan] [--list] [--json]

TEACH is what `duomem-mlx teach --teacher search --games train` wrote. Floor plans are held out as by `train` with
`--held-out 0.03 --seed 0`. A recipe is two commands, which it prints: `train` on 600 of the other games, 150 steps of
four rows, and `evaluate` on the first 100 held-out ones. The same call goes on where it stopped, and `--plan` says how
long what is left will take. The table, FOLDER/recipes.json too, compares each with `plain` or the recipe it names, on
the same games, by McNemar's exact test; valid_seen is never read. `--games`, `--train-games` and `--model` make it
smaller. A folder is one comparison: of these trajectories, with so many training games, of this student.
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem_mlx.cli.main import status
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.paths import claim_run, digest, read_json, write_json, write_text

SHARE, SEED = 0.03, 0
GAMES, TRAIN_GAMES, TOGETHER, MAX_STEPS = 100, 600, 24, 30
SAVING_SECONDS = 30.0  # a command that Ctrl-C reached too has so long to save what it has
PLAIN = "plain"


@dataclass(frozen=True)
class Recipe:
    """What differs, and from which other."""

    what: str
    teach: str = ""  # words of `teach`, where the trajectories are others
    train: str = ""
    evaluate: str = "--arm adapter"
    share: float = 1  # of the training games, in the order that all commands use
    thoughts: bool = False  # before every action
    adapter: str = ""  # of which recipe it is, where it has none of its own
    against: str = PLAIN


RECIPES = {
    PLAIN: Recipe("all games once, compact text, actions alone, rank 16, no memories", against=""),
    "chat": Recipe("the model's chat template in place of the compact text", train="--prompt-style chat"),
    "thoughts": Recipe(
        "chat, a thought before every action", train="--prompt-style chat", thoughts=True, against="chat"
    ),
    "half": Recipe("half the games, twice", train="--epochs 2", share=0.5),
    "solutions": Recipe(
        "half the games, two solutions of each", teach="--games train --solutions 2", share=0.5, against="half"
    ),
    "stumbles": Recipe("a teacher made to stumble in 15 of 100 turns", teach="--games train --stumbles 0.15"),
    "generated": Recipe("generated games in place of ALFWorld's", teach="--games generated:1:{games}"),
    "memories": Recipe("rows show 0 to 2 memories, and so do games", train="--k 2", evaluate="--arm duomem --k 2"),
    "memories-unused": Recipe("the same adapter without memories", adapter="memories", against="memories"),
    "untaught-memories": Recipe("the plain adapter with two memories", evaluate="--arm duomem --k 2", adapter=PLAIN),
    "rank-4": Recipe("rank 4: 1.2M parameters", train="--rank 4"),
    "rank-32": Recipe("rank 32: 9.8M parameters", train="--rank 32"),
    "batch-8": Recipe("half the steps, of eight rows", train="--batch-size 8"),
}


@dataclass(frozen=True)
class Bench:
    folder: Path
    games: int  # held-out ones, to be judged on
    train_games: int
    model: str | None  # None: the shipped student

    @property
    def settings(self) -> dict[str, Any]:
        """What all that is trained in the folder has in common."""
        return {"train_games": self.train_games, "model": self.model}

    @property
    def whose(self) -> tuple[str, ...]:
        return () if self.model is None else ("--model", self.model)

    def adapter(self, name: str) -> Path:
        return self.folder / "adapters" / (RECIPES[name].adapter or name)

    def results(self, name: str) -> Path:
        return self.folder / "results" / f"{name}-{self.games}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trajectories", type=Path)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="NAME")
    parser.add_argument("--games", type=at_least(1), default=GAMES, metavar="N")
    parser.add_argument("--train-games", type=at_least(2), default=TRAIN_GAMES, metavar="N")
    parser.add_argument("--model", metavar="ID")
    for flag in ("--plan", "--list", "--json"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:18} {recipe.what}" for name, recipe in RECIPES.items()))
        return
    if options.trajectories is None:
        parser.error("--trajectories is needed: what `duomem-mlx teach` wrote")
    bench = Bench(options.folder, options.games, options.train_games, options.model)
    hold_out(bench, options.trajectories)
    if options.plan:
        planned = plan(bench, options.only)
        print(json.dumps(planned) if options.json else told(planned))
        return
    for name in options.only:
        follow(bench, name)
    found = {"format": 1, "games": bench.games, **bench.settings, "recipes": table(bench)}
    write_json(bench.folder / "recipes.json", found)
    print(json.dumps(found) if options.json else text_of(found["recipes"]))


def at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return number


def hold_out(bench: Bench, trajectories: Path) -> None:
    """Lay the training games out as two data folders, `held-out` and `others`, with the trajectories of the others in
    `teach`, in the order of all commands. Raises UsageError where the folder is another comparison's or there are none.
    """
    from duomem_mlx.environment import find_environment, ordered
    from duomem_mlx.household.files import DATA_FOLDER, data_folder
    from duomem_mlx.training.rows import split_held_out
    from duomem_mlx.trajectory import read_trajectories, to_record

    folder = bench.folder
    environment: Any = find_environment("household")
    file = trajectories / "trajectories.jsonl" if trajectories.is_dir() else trajectories
    won = {one.game: one for one in read_trajectories(file) if one.won}
    order = ordered(environment, "train")
    taught = [won[game] for game in order if game in won]
    if not taught:
        raise UsageError(f"{file} has no won game of train.", "`duomem-mlx teach --games train` writes such a file.")
    kept, held = split_held_out(taught, SHARE, lambda one: environment.place(one.game), SEED)
    if len(kept) < bench.train_games:
        raise UsageError(
            f"{file} has {len(kept)} won games of train beside the floor plans held out, not {bench.train_games}.",
            "Teach more games, or ask for fewer with --train-games.",
        )
    settings = {"trajectories": digest([to_record(one) for one in taught]), **bench.settings}
    try:
        claim_run(folder, "compare_recipes", settings, outputs=())
    except UsageError as error:
        raise UsageError(error.what, "Choose another folder.") from None
    plans = {environment.place(one.game) for one in held}
    below = data_folder() / DATA_FOLDER
    for game in order:
        part = "held-out" if environment.place(game) in plans else "others"
        place = folder / part / DATA_FOLDER / game
        place.mkdir(parents=True, exist_ok=True)
        for source in (below / game).iterdir():
            link, target = place / source.name, source.resolve()
            if not (link.is_symlink() and link.readlink() == target):
                link.unlink(missing_ok=True)
                link.symlink_to(target)
    by_game = {one.game: one for one in kept}
    lines = (json.dumps(to_record(by_game[game])) + "\n" for game in order if game in by_game)
    write_text(folder / "teach" / "trajectories.jsonl", "".join(lines))


def follow(bench: Bench, name: str) -> None:
    run(*train_words(bench, RECIPES[name].adapter or name))
    run(*evaluate_words(bench, name))


def train_words(bench: Bench, name: str) -> list[object]:
    """The call that trains a recipe's adapter; what it is trained on is made first."""
    recipe = RECIPES[name]
    memories = ("--memories", bank(bench) if "--k" in recipe.train else "none")
    said = ("--held-out", 0, *recipe.train.split(), "--out", bench.adapter(name))
    return ["train", taught(bench, name), *bench.whose, *memories, *said]


def evaluate_words(bench: Bench, name: str) -> list[object]:
    recipe = RECIPES[name]
    memories = ("--memories", bank(bench) if "--k" in recipe.evaluate else "none")
    games = ("--games", "train", "--games-dir", bench.folder / "held-out", "--limit", bench.games)
    said = (*recipe.evaluate.split(), "--max-steps", MAX_STEPS, "--batch-size", TOGETHER, "--out", bench.results(name))
    return ["evaluate", *games, *bench.whose, "--adapter", bench.adapter(name), *memories, *said]


def taught(bench: Bench, name: str) -> Path:
    """The trajectories of a recipe."""
    recipe, folder = RECIPES[name], bench.folder
    games = int(recipe.share * bench.train_games)
    if recipe.teach:
        path = folder / f"teach-{name}-{games}"
        words = recipe.teach.format(games=games).split()
        where = ("--games-dir", folder / "others") if "train" in words else ()
        run("teach", "--teacher", "search", *words, "--limit", games, *where, "--out", path)
        return path
    path = folder / "teach" / f"first-{games}{'-thoughts' if recipe.thoughts else ''}.jsonl"
    if not path.is_file():
        lines = (folder / "teach" / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()[:games]
        if recipe.thoughts:
            lines = [thoughtful(line) for line in lines]
        write_text(path, "".join(f"{line}\n" for line in lines))
    return path


def thoughtful(line: str) -> str:
    from thoughts import with_thoughts

    from duomem_mlx.trajectory import from_record, to_record

    return json.dumps(to_record(with_thoughts(from_record(json.loads(line), "a trajectory"))))


def bank(bench: Bench) -> Path:
    path = bench.folder / "bank"
    if not path.is_dir():
        run("memories", "build", bench.folder / "teach" / "trajectories.jsonl", "--thin", 1, "--out", path)
    return path


def run(*words: object) -> str:
    """Standard output of a command, where `--json` is among its words."""
    call = [sys.executable, "-m", "duomem_mlx", *map(str, words)]
    print("$ duomem-mlx", shlex.join(call[3:]), file=sys.stderr, flush=True)
    wanted = subprocess.PIPE if "--json" in words else sys.stderr
    with subprocess.Popen(call, stdout=wanted, text=True) as process:
        try:
            said, _ = process.communicate()
        except KeyboardInterrupt:
            try:
                process.wait(SAVING_SECONDS)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                process.wait()
            raise
    if process.returncode == 130:
        raise KeyboardInterrupt
    if process.returncode:
        fix = "The words above say why." if process.returncode == 2 else "The same call goes on."
        raise DuomemError(f"`duomem-mlx {call[3]}` stopped with {process.returncode}.", fix)
    return said or ""


def plan(bench: Bench, names: Sequence[str]) -> dict[str, Any]:
    """{recipe: {"train": hours, "play": hours}} of what is left. Training is tried out for up to a minute each;
    playing is as long as the held-out games take the untrained student, which uses all its actions, in 24 of them."""
    hours: dict[str, dict[str, float]] = {}
    slowest: dict[str, float] = {}  # seconds a game by prompt style
    trained: set[Path] = set()
    for name in names:
        style = "chat" if "chat" in RECIPES[name].train else "compact-1"
        trains = RECIPES[name].adapter or name
        left = {"train": 0.0, "play": 0.0}
        if bench.adapter(name) not in trained and not is_trained(bench.adapter(name)):
            trained.add(bench.adapter(name))
            left["train"] = json.loads(run(*train_words(bench, trains), "--plan", "--json"))["hours"]
        if not (bench.results(name) / "summary.json").is_file():
            if style not in slowest:
                games = ("--games", "train", "--games-dir", bench.folder / "held-out", "--limit", TOGETHER)
                how = ("--arm", "base", "--adapter", "none", "--memories", "none", "--prompt-style", style)
                out = ("--max-tokens", 32, "--batch-size", TOGETHER, "--out", bench.folder / f"plan-{style}", "--json")
                found = json.loads(run("evaluate", *games, *bench.whose, *how, *out))
                slowest[style] = found["arms"]["base"]["seconds_per_game"]
            left["play"] = slowest[style] * bench.games / 3600
        hours[name] = {part: round(value, 3) for part, value in left.items()}
    return {"recipes": hours, "hours": round(sum(sum(left.values()) for left in hours.values()), 2)}


def is_trained(adapter: Path) -> bool:
    if not (adapter / "duomem.json").is_file():
        return False
    figures = read_json(adapter / "duomem.json", "adapter's record")["figures"]
    return bool(figures["steps"] == figures["planned_steps"])


def told(planned: dict[str, Any]) -> str:
    lines = [f"{'':18} {'training, h':>11}  {'playing, h, at most':>19}"]
    lines += [f"{name:18} {left['train']:11.2f}  {left['play']:19.2f}" for name, left in planned["recipes"].items()]
    return "\n".join([*lines, f"About {planned['hours']:.1f} hours are left. Without --plan it is done."])


def table(bench: Bench) -> dict[str, Any]:
    """Every recipe that has been followed to its end, beside the one it changes, on the games that both played."""
    from duomem_mlx.evaluation.results import read_episodes
    from duomem_mlx.evaluation.statistics import discordant, mcnemar, wilson

    verdicts: dict[str, dict[str, bool]] = {}
    found: dict[str, Any] = {}
    for name, recipe in RECIPES.items():
        if not (bench.results(name) / "summary.json").is_file():
            continue
        seeds = next(played for arm, played in read_episodes(bench.results(name)).items() if arm != "teacher")
        episodes = [episode for of_seed in seeds.values() for episode in of_seed]
        verdicts[name] = {one.game: one.won for one in episodes}
        won, games = sum(verdicts[name].values()), len(verdicts[name])
        other_alone, alone, p = None, None, None  # where there is nothing to stand beside
        if (other := verdicts.get(recipe.against)) is not None:
            other_alone, alone = discordant(other, verdicts[name])
            p = mcnemar(other_alone, alone)
        steps = [step for one in episodes for step in one.steps]
        record = read_json(bench.adapter(name) / "duomem.json", "adapter's record")
        found[name] = {
            "what": recipe.what,
            "against": recipe.against,
            "trained_steps": record["figures"]["steps"],
            "trained_tokens": record["data"]["tokens"],
            "games": games,
            "won": won,
            "wilson95": [round(bound, 4) for bound in wilson(won, games)],
            "steps_mean": round(sum(len(one.steps) if one.won else MAX_STEPS for one in episodes) / len(episodes), 2),
            "refused": round(sum("refused" in step.flags for step in steps) / max(1, len(steps)), 4),
            "seconds_per_game": round(sum(one.seconds for one in episodes) / len(episodes), 2),
            "alone": alone,
            "other_alone": other_alone,
            "p": p,
        }
    return found


def text_of(found: dict[str, Any]) -> str:
    lines = [f"{'':18} {'won':>8}  {'95%':>14}  {'steps':>5}  {'refused':>7}  {'against':9} {'alone':>7}  {'p':>6}"]
    for name, one in found.items():
        low, high = one["wilson95"]
        beside = f"{'':9} {'':7}  {'':6}"
        if one["p"] is not None:
            beside = f"{one['against']:9} {one['alone']:3}:{one['other_alone']:<3}  {one['p']:6.3f}"
        lines.append(
            f"{name:18} {one['won']:4}/{one['games']:<3}  {low:6.1%}–{high:6.1%}  {one['steps_mean']:5.2f}"
            f"  {one['refused']:7.1%}  {beside}  {one['what']}"
        )
    return "\n".join([*lines, "alone: games won by this recipe and not by the other : the other way round"])


if __name__ == "__main__":
    sys.exit(status(main))
