"""The commands that make each measurement, and the end of docs/results.md: what has not been measured."""

from collections.abc import Mapping
from typing import Any

from compare_recipes import RECIPES

OUT = "runs/reproduce"
AXES = f"--adapter {OUT}/adapter --memories {OUT}/memories"
SEEDS = " ".join(f"--adapter {OUT}/adapter{mark}" for mark in ("", "-seed1", "-seed2"))
# measurement -> what it is, and its commands
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "valid_seen": (
        "the ladder",
        (
            "scripts/reproduce.sh",
            f"python scripts/make_results.py own {OUT}/own-games",
            f"python scripts/make_results.py valid_seen {OUT}/results {AXES}",
        ),
    ),
    "k": (
        "0, 1, 2, 4 and 10 memories, one seed, the first 70 games",
        (
            "duomem-mlx evaluate --games valid_seen --limit 70 --k 2,0,1,4,10 --arm memories --arm duomem \\\n"
            "  --batch-size 24 --out runs/k",
            "python scripts/make_results.py k runs/k",
        ),
    ),
    "seeds": (
        "three training seeds of `adapter` and `duomem`",
        (
            "scripts/reproduce.sh --seed 1",
            "scripts/reproduce.sh --seed 2",
            f"duomem-mlx evaluate --games valid_seen {SEEDS} \\\n"
            f"  --memories {OUT}/memories --k 2 --arm adapter --arm duomem --batch-size 24 --out runs/seeds",
            "python scripts/make_results.py seeds runs/seeds",
        ),
    ),
    "four_bits": (
        "the 4-bit original beside float32 on twenty games",
        (
            "duomem-mlx models convert smollm2-135m --bits 4 --dtype float32 --out runs/smollm2-4bit",
            "duomem-mlx evaluate --games valid_seen --limit 20 --arm adapter --arm duomem --out runs/float32",
            "duomem-mlx evaluate --games valid_seen --limit 20 --arm adapter --arm duomem \\\n"
            "  --model runs/smollm2-4bit --adapter smollm2-135m-alfworld --out runs/4bit",
            "python scripts/make_results.py four_bits runs/float32 runs/4bit",
        ),
    ),
    "scienceworld": (
        "ScienceWorld, the same loop",
        (
            "scripts/reproduce_scienceworld.sh",
            "python scripts/make_results.py scienceworld runs/reproduce-scienceworld/results",
        ),
    ),
    "recipes": (
        "recipes that differ in one thing",
        (
            f"python scripts/compare_recipes.py runs/recipes --trajectories {OUT}/teach",
            "python scripts/make_results.py recipes runs/recipes",
        ),
    ),
}
LADDER = ("base", "own-memories", "memories", "random-memories", "adapter", "duomem", "teacher")
NEVER = """No larger student, no language model as teacher and no Mac could be had where these figures were made.
[your-model.md](your-model.md) has the commands for a student of 1.7B to 4B and for a language model as teacher. On
a Mac:

```
duomem-mlx bench                                 # speed and memory of the shipped student, float16 on the GPU
duomem-mlx models convert smollm2-135m --bits 4 --out runs/smollm2-4bit
duomem-mlx bench --model runs/smollm2-4bit --adapter smollm2-135m-alfworld       # the same in 4 bits
duomem-mlx evaluate --games valid_seen --arm base --arm adapter --arm duomem --out runs/mac
```"""


def missing(kept: Mapping[str, Any]) -> str:
    parts = ["## Not measured"]
    if left := absent_arms(kept):
        arms = "arm" if len(left) == 1 else "arms"
        of_ladder = COMMANDS["valid_seen"][1]
        parts.append(entry(f"The {arms} {', '.join(f'`{arm}`' for arm in left)} of the ladder", of_ladder))
    parts += [
        entry(what, commands)
        for name, (what, commands) in COMMANDS.items()
        if name != "valid_seen" and not there(kept, name)
    ]
    followed = kept.get("recipes", {}).get("recipes", RECIPES)
    if left := [name for name in RECIPES if name not in followed]:
        first, second = COMMANDS["recipes"][1]
        parts.append(entry(f"of the recipes, {', '.join(left)}", (f"{first} --only {' '.join(left)}", second)))
    return "\n\n".join([*parts, NEVER])


def absent_arms(kept: Mapping[str, Any]) -> list[str]:
    """Of the ladder; a student that won none of its own games has no memories to be given."""
    arms = kept.get("valid_seen", {}).get("arms", {})
    return [arm for arm in LADDER if arm not in arms and not (arm == "own-memories" and nothing_to_remember(kept))]


def nothing_to_remember(kept: Mapping[str, Any]) -> bool:
    return "own" in kept and not kept["own"]["arms"]["base"]["won"]


def there(kept: Mapping[str, Any], name: str) -> bool:
    in_ladder = any("seeds" in figures for figures in kept.get("valid_seen", {}).get("arms", {}).values())
    return name in kept or (name == "seeds" and in_ladder)


def entry(what: str, commands: tuple[str, ...]) -> str:
    return f"{what[0].upper()}{what[1:]}:\n\n{fenced(commands)}"


def fenced(commands: tuple[str, ...]) -> str:
    return "\n".join(["```", *commands, "```"])
