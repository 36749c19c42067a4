"""A results folder as a report needs it: the figures, and every episode with why it was not won."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem_mlx.environment import DEFAULT
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.evaluation.arms import ARMS, TEACHER, name_and_k
from duomem_mlx.evaluation.causes import UNKNOWN, Cause, manner
from duomem_mlx.evaluation.results import figures_of, read_episodes
from duomem_mlx.paths import CONFIG, read_json
from duomem_mlx.trajectory import Episode

FORMAT = 1  # of config.json and summary.json
MAKE = "Make some with `duomem-mlx evaluate`."


@dataclass(frozen=True)
class Results:
    """One evaluation. Figures and comparisons are those of `summary.json`, made from the episodes that are there."""

    folder: Path
    environment: str
    header: Mapping[str, Any]  # what was evaluated, and on what: of summary.json, where there is none of config.json
    max_steps: int
    k: int  # of an arm whose label names none
    games: tuple[str, ...]  # ids of all games that any arm played
    arms: Mapping[str, Mapping[str, Any]]
    paired: Mapping[str, Mapping[str, Any]]
    episodes: Mapping[str, Mapping[int, Mapping[str, Episode]]]  # by arm, seed and game

    def of_arm(self, label: str) -> list[Episode]:
        """All plays of an arm, of all its seeds."""
        return [episode for of_seed in self.episodes[label].values() for episode in of_seed.values()]

    @property
    def views(self) -> dict[str, tuple[str, int]]:
        """What one of the episodes of a game is called: an arm, with its seed where it has several -> arm and seed."""
        return {
            label if len(seeds) == 1 else f"{label}, seed {seed}": (label, seed)
            for label, seeds in self.episodes.items()
            for seed in seeds
        }

    @property
    def unfinished(self) -> dict[str, int]:
        """Games that are left to play, by view."""
        left = {name: len(self.games) - len(self.episodes[arm][seed]) for name, (arm, seed) in self.views.items()}
        return {name: count for name, count in left.items() if count}

    @property
    def main_arms(self) -> tuple[str, ...]:
        """Without those that only have another k; there is a curve for these."""
        return tuple(label for label in self.arms if name_and_k(label, self.k)[0] == label)

    @property
    def by_k(self) -> dict[str, dict[int, str]]:
        return curves_of(self.arms, self.k)


def curves_of(arms: Iterable[str], default_k: int) -> dict[str, dict[int, str]]:
    """Arm name -> k -> label, of the arms that were played with several k. What an arm is without memories, `base` or
    `adapter`, is its k = 0."""
    labels_there = list(arms)
    found: dict[str, dict[int, str]] = {}
    for label in labels_there:
        name, k = name_and_k(label, default_k)
        if name in ARMS and ARMS[name].memories != "none":
            found.setdefault(name, {})[k] = label
    curves = {}
    for name, labels in found.items():
        bare = next(a.name for a in ARMS.values() if a.memories == "none" and a.adapter == ARMS[name].adapter)
        if len(labels) > 1:
            with_none = {0: bare} if bare in labels_there else {}
            curves[name] = dict(sorted((with_none | labels).items()))
    return curves


def read_run(folder: Path) -> dict[str, Any]:
    """What `config.json` says of the evaluation in `folder`. Raises UsageError when there is none, DuomemError when it
    is torn or of a format that this version does not know."""
    if folder.is_file():
        raise UsageError(f"{folder} is a file.", "Name the folder that `duomem-mlx evaluate` wrote.")
    if not (folder / CONFIG).is_file():
        raise UsageError(f"There are no results at {folder}.", MAKE)
    config = _object(folder / CONFIG, "run's config.json")
    run = config.get("run")
    if not isinstance(run, dict):
        raise UsageError(f"{folder / CONFIG} is not an evaluation's.", MAKE)
    if run.get("command") != "evaluate":
        raise UsageError(f"{folder} holds what `duomem-mlx {run.get('command')}` made, no evaluation.", MAKE)
    return run


def read_results(folder: Path, run: Mapping[str, Any], cause: Cause | None) -> Results:
    """The evaluation in `folder`, finished or not; `run` is what `read_run` gave, `cause` the environment's own word
    for why a game was not won. Raises UsageError when no game was played, DuomemError naming a file that is torn."""
    summary = _object(folder / "summary.json", "summary") if (folder / "summary.json").is_file() else {}
    try:
        max_steps, k = int(run["play"]["max_steps"]), int(run["k"][0])
    except (KeyError, TypeError, ValueError, IndexError):
        raise DuomemError(
            f"{folder / CONFIG} says neither steps nor k.", "Evaluate again into another --out."
        ) from None
    episodes = read_episodes(folder)
    figures = figures_of(episodes, max_steps, [*ARMS, TEACHER], cause)
    played = {
        label: {seed: {e.game: e for e in episodes[label][seed]} for seed in sorted(episodes[label])}
        for label in figures["arms"]
    }
    header = {name: value for name, value in (summary or run).items() if name not in ("format", "arms", "paired")}
    return Results(
        folder=folder,
        environment=str(run.get("env", DEFAULT)),
        header=header,
        max_steps=max_steps,
        k=k,
        games=tuple(sorted({game for seeds in played.values() for of_seed in seeds.values() for game in of_seed})),
        arms=figures["arms"],
        paired=figures["paired"],
        episodes=played,
    )


def reason(episode: Episode, cause: Cause | None) -> tuple[str | None, str] | None:
    """Cause (None where the environment has no word for it) and manner of a game that was not won; None of one won."""
    return None if episode.won else ((cause(episode) or UNKNOWN) if cause else None, manner(episode))


def tokens_of(episodes: Iterable[Episode]) -> dict[str, int]:
    """Tokens of all steps of these games: read anew, read from the cache, written."""
    steps = [step for episode in episodes for step in episode.steps]
    return {n: sum(getattr(step, f"tokens_{n}", 0) for step in steps) for n in ("new", "cached", "out")}


def _object(path: Path, what: str) -> dict[str, Any]:
    found = read_json(path, what)
    if not isinstance(found, dict):
        raise DuomemError(f"{path} is not a JSON object.", "Restore it from a copy, or evaluate again.")
    version = found.get("format")
    if version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        raise DuomemError(
            f"{path} has format {version}, this version reads {FORMAT}.",
            "Install a newer duomem-mlx." if newer else "Evaluate again into another --out.",
        )
    return found
