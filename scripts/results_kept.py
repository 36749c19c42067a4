"""What is kept of an evaluation under docs/results: its summary, and what else only the results folder can tell."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem_mlx.errors import DuomemError, UsageError, refuse_newer

if TYPE_CHECKING:
    from duomem_mlx.report.reading import Results

FORMAT = 1
RECIPE = {"what", "against", "trained_steps", "trained_tokens", "games", "won", "wilson95", "steps_mean", "refused"}
RECIPE |= {"alone", "other_alone", "p"}


def kept(folder: Path, adapter: str | None = None, memories: str | None = None) -> dict[str, Any]:
    """The summary of a finished evaluation with, by arm, the tokens a game that were read anew, read from the cache and
    said, and with the bytes of base, adapter and bank where these are here (`adapter`, `memories`: where they lie, if
    they are not the shipped ones). Of where a model lies only its folder's name. Raises UsageError when it is not
    finished."""
    from duomem_mlx.memory.folders import find_bank
    from duomem_mlx.paths import read_json
    from duomem_mlx.report.footprint import adapter_at_hand, bank_at_hand, footprint
    from duomem_mlx.report.reading import read_results, read_run
    from duomem_mlx.student.agent import adapter_folder

    run = read_run(folder)
    found = read_results(folder, run, None)
    if found.unfinished or not (folder / "summary.json").is_file():
        left = ", ".join(f"{count} games of {label}" for label, count in found.unfinished.items()) or "its summary"
        raise UsageError(f"{folder} is not finished: {left} missing.", "Call the same evaluate again.")
    summary = read_json(folder / "summary.json", "summary")
    for label, figures in summary["arms"].items():
        figures |= tokens_a_game(found, label)
    there = footprint(
        run,
        adapter_at_hand(run, None if adapter is None else adapter_folder(adapter)),
        bank_at_hand(run, None if memories is None else find_bank(memories)),
    )
    sizes = {name: size for name, size in asdict(there).items() if size is not None}
    model = Path(summary["model"])
    named = model.name if model.is_absolute() else summary["model"]
    return {**summary, "model": named, "env": run["env"], "footprint": sizes}


def tokens_a_game(found: "Results", label: str) -> dict[str, Any]:
    """{"tokens": {"new", "cached", "out"}}, means a game; nothing of an arm that has none, as the teacher's."""
    from duomem_mlx.report.reading import tokens_of

    tokens, games = tokens_of(found.of_arm(label)), found.arms[label]["games"]
    return {"tokens": {name: round(count / games, 1) for name, count in tokens.items()}} if tokens["out"] else {}


def kept_beside(first: Path, second: Path, adapter: str | None, memories: str | None) -> dict[str, Any]:
    """Two evaluations of the same student in other bits, and in how many games it did the same in both: {"same": {arm:
    {"games", "same", "parted": [{"game", "turn", "first", "second"}]}}}, the first action that was another one."""
    from duomem_mlx.report.reading import read_results, read_run

    there = [read_results(folder, read_run(folder), None) for folder in (first, second)]
    same: dict[str, Any] = {}
    for label in there[0].arms:
        if label not in there[1].arms or label == "teacher":
            continue
        ours, theirs = ({e.game: [s.action for s in e.steps] for e in one.of_arm(label)} for one in there)
        both = sorted(ours.keys() & theirs.keys())
        parted = [parting(game, ours[game], theirs[game]) for game in both if ours[game] != theirs[game]]
        same[label] = {"games": len(both), "same": len(both) - len(parted), "parted": parted}
    if not same:
        raise UsageError(f"{first} and {second} have no arm in common.", "Evaluate the same arms in both.")
    return {
        "format": FORMAT,
        "evaluations": [kept(folder, adapter, memories) for folder in (first, second)],
        "same": same,
    }


def kept_recipes(folder: Path) -> dict[str, Any]:
    """What scripts/compare_recipes.py found. Raises DuomemError where the file is not its."""
    from duomem_mlx.paths import read_json

    path = folder / "recipes.json"
    found = as_kept(path, read_json(path, "comparison"))
    recipes = found.get("recipes")
    whole = {"games", "train_games", "model"} <= found.keys() and isinstance(recipes, dict)
    if not (whole and all(isinstance(one, dict) and one.keys() >= RECIPE for one in recipes.values())):
        raise DuomemError(f"{path} is no comparison of recipes.", "scripts/compare_recipes.py writes one.")
    return found


def as_kept(path: Path, found: Any) -> dict[str, Any]:
    """What was read from `path`. Raises DuomemError where it is nothing that is kept, or newer than this program."""
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise DuomemError(
            f"{path} is no measurement.",
            "Nothing was changed; make_results.py and compare_recipes.py write such files.",
        )
    refuse_newer(str(path), found["format"], FORMAT)
    return found


def parting(game: str, ours: list[str], theirs: list[str]) -> dict[str, Any]:
    """Where two plays of a game part: the turn, from 1, and what was done there; "" where that play was over."""
    turn = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    first, second = ((play[turn] if turn < len(play) else "") for play in (ours, theirs))
    return {"game": game, "turn": turn + 1, "first": first, "second": second}
