"""What a measurement must be to stand under docs/results: another one is refused before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compare_recipes import GAMES, MAX_STEPS, TRAIN_GAMES

from duomem_mlx.errors import UsageError
from duomem_mlx.report.reading import curves_of


@dataclass(frozen=True)
class Wanted:
    env: str
    split: str
    arms: tuple[str, ...]
    games: int
    adapter: bool = True  # false: of the bare student, no adapter named


STUDENT = "smollm2-135m"
SEEN = 140  # games of valid_seen
WANTED = {
    "valid_seen": Wanted("household", "valid_seen", ("base", "memories", "random-memories", "adapter", "duomem"), SEEN),
    "own": Wanted("household", "train", ("base",), 40, adapter=False),
    "seeds": Wanted("household", "valid_seen", ("adapter", "duomem"), SEEN),
    "k": Wanted("household", "valid_seen", ("memories", "duomem"), 70),
    "four_bits": Wanted("household", "valid_seen", ("adapter", "duomem"), 20),
    "scienceworld": Wanted("scienceworld", "test:short:5", ("base", "memories", "adapter", "duomem"), 60),
}
KINDS = (*WANTED, "recipes")


def refuse_others(kind: str, found: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Raises UsageError where what was measured is not what the kind's section says it is, or where recipes that are
    `kept` would be lost."""
    if kind == "recipes":
        if (found["games"], found["train_games"], found["model"]) != (GAMES, TRAIN_GAMES, None):
            refuse(kind, f"the shipped student, {TRAIN_GAMES} games to train on and {GAMES} to judge by")
        if absent := [name for name in kept.get(kind, {}).get("recipes", ()) if name not in found["recipes"]]:
            refuse(kind, f"all that are kept; {', '.join(absent)} were not followed there")
        if short := [name for name, one in found["recipes"].items() if one["games"] != GAMES]:
            refuse(kind, f"{GAMES} games of each; {', '.join(short)} had others")
        return
    for one in found.get("evaluations", [found]):
        of_kind(kind, WANTED[kind], one)
    arms = found.get("arms", {})
    if kind == "seeds" and not all("seeds" in arms[name] for name in WANTED[kind].arms):
        refuse(kind, "adapters of several training seeds")
    if kind == "k" and not curves_of(arms, found["k"]):
        refuse(kind, "several numbers of memories")
    if kind == "four_bits":
        both = found["evaluations"]
        if [one["bits"] for one in both] != [None, 4]:
            refuse(kind, "the student whole first, then in 4 bits")
        for what in ("adapter", "memories"):
            if both[0][f"{what}_hash"] != both[1][f"{what}_hash"]:
                refuse(kind, f"the same {what} in both")


def of_kind(kind: str, wanted: Wanted, one: Mapping[str, Any]) -> None:
    if (one["env"], one["split"]) != (wanted.env, wanted.split):
        refuse(kind, f"games {wanted.split} of the world {wanted.env}, not {one['split']} of {one['env']}")
    if one["max_steps"] != MAX_STEPS or (one["bits"] is None and one["model"] != STUDENT):
        refuse(kind, f"{STUDENT} and at most {MAX_STEPS} actions a game, not {one['model']} and {one['max_steps']}")
    if aided := [name for name in ("decoding", "learn") if one.get(name)]:
        refuse(kind, f"greedy play from observations alone, without {' and '.join(aided)}")
    if not wanted.adapter and one["adapter"] is not None:
        refuse(kind, f"the bare student, not one with the adapter {one['adapter']}")
    if wanted.games != one["games"]:
        refuse(kind, f"{wanted.games} games, not {one['games']}")
    if absent := [name for name in wanted.arms if name not in one["arms"]]:
        refuse(kind, f"the arms {', '.join(wanted.arms)}; {', '.join(absent)} were not played")


def refuse(kind: str, needs: str) -> None:
    raise UsageError(f"{kind} needs {needs}.", "Nothing was kept; docs/results.md has the commands that make it.")
