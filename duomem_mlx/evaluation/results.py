"""A results folder: one file an episode, and the summary that follows from these files and nothing else."""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.evaluation import scores
from duomem_mlx.evaluation.arms import name_and_k
from duomem_mlx.evaluation.causes import Cause, failures
from duomem_mlx.evaluation.statistics import (
    discordant,
    effective_games,
    interaction,
    mcnemar,
    mean_of_few,
    paired_difference,
    wilson,
)
from duomem_mlx.paths import digest, write_json
from duomem_mlx.trajectory import REPLAY, Episode, episode_from_record, to_record

LONGEST_NAME = 200  # bytes; while a file is written its name is somewhat longer
SEED = re.compile(r"-?\d{1,18}")  # a folder of an arm that is called otherwise is somebody's own
OF_A_SEED = ("won", "games", "success", "wilson95", "steps_mean")
AXES = ("base", "memories", "adapter", "duomem")  # neither, the context's, the parameters', both


def episode_path(folder: Path, arm: str, seed: int, game: str) -> Path:
    """Where the episode of a game is, or is to be: under its id with `/` as `__`. Where that is another game's
    already, such as `a__b` for `a/b`, or on some disks `A` for `a`, or longer than a file's name may be, under a hash
    of the id; there it stays, also when the other one's file was removed."""
    place = folder / "episodes" / arm / str(seed)
    plain, hashed = place / plain_name(game), place / f"{digest(game)[:32]}.json"
    if len(plain.name.encode()) <= LONGEST_NAME and not hashed.is_file() and _is_of(plain, game):
        return plain
    return hashed


def plain_name(game: str) -> str:
    return f"{game.replace('/', '__')}.json"


def _is_of(path: Path, game: str) -> bool:
    """Whether a file is this game's, or nobody's yet."""
    try:
        return _game_of(path, path.stat().st_mtime_ns) == game
    except FileNotFoundError:
        return True


@lru_cache(maxsize=1 << 16)
def _game_of(path: Path, written: int) -> str:
    return read_episode(path).game


def write_episode(folder: Path, seed: int, episode: Episode) -> None:
    """Write an episode once, whole."""
    write_json(episode_path(folder, episode.arm, seed, episode.game), to_record(episode))


def read_episodes(folder: Path, games: Collection[str] | None = None) -> dict[str, dict[int, list[Episode]]]:
    """Episodes by arm and seed, sorted by game; of these `games` alone where they are given.

    Raises UsageError when there are none, DuomemError naming a file that is torn.
    """
    wanted = None if games is None else set(games)
    found: dict[str, dict[int, list[Episode]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((folder / "episodes").glob("*/*/*.json")):
        arm, seed = path.parent.parent.name, path.parent.name
        if path.name[0] == "." or not SEED.fullmatch(seed):
            continue
        episode = read_episode(path)
        if wanted is None or episode.game in wanted:
            found[arm][int(seed)].append(episode)
    if not found:
        raise UsageError(f"There are no results at {folder}.", "Make some with `duomem-mlx evaluate`.")
    for seeds in found.values():
        for episodes in seeds.values():
            episodes.sort(key=lambda episode: plain_name(episode.game))
    return {arm: dict(seeds) for arm, seeds in found.items()}


def read_episode(path: Path) -> Episode:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DuomemError(f"The episode {path} cannot be read ({error}).", REPLAY) from None
    return episode_from_record(record, f"The episode {path}")


def arm_figures(episodes: Sequence[Episode], max_steps: int, cause: Cause | None = None) -> dict[str, Any]:
    """The figures of one arm and seed. In `steps_mean` a game not won counts `max_steps`; seconds and tokens are
    means a game; `cause` is the environment's own word for why a game was not won."""
    won = [episode for episode in episodes if episode.won]
    by_type: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for episode in episodes:
        by_type[episode.kind][0] += episode.won
        by_type[episode.kind][1] += 1
    games = len(episodes)
    flags: dict[str, int] = defaultdict(int)
    ends: dict[str, int] = defaultdict(int)
    for episode in episodes:
        ends[episode.end] += 1
        for step in episode.steps:
            for flag in getattr(step, "flags", ()):
                flags[flag] += 1
    return {
        "won": len(won),
        "games": games,
        "success": len(won) / games,
        "wilson95": [round(bound, 4) for bound in wilson(len(won), games)],
        "score_mean": _mean(episode.score for episode in episodes),
        "steps_mean": _mean(len(e.steps) if e.won else max_steps for e in episodes),
        "steps_mean_won": _mean(len(episode.steps) for episode in won),
        "seconds_per_game": _mean(episode.seconds for episode in episodes),
        "tokens_per_game": _mean(sum(e.tokens.values()) for e in episodes if e.tokens is not None),
        "answers": sum(len(episode.steps) for episode in episodes),
        "ends": dict(sorted(ends.items())),
        "flags": dict(sorted(flags.items())),
        "by_type": dict(sorted(by_type.items())),
        **failures(episodes, cause),
    }


def summarise(
    folder: Path,
    games: Collection[str],
    header: Mapping[str, Any],
    max_steps: int,
    order: Sequence[str],
    cause: Cause | None = None,
) -> dict[str, Any]:
    """Read the episodes of `games`, write `summary.json`, and give back what `evaluate --json` prints. Arms stand in
    `order`."""
    found = figures_of(read_episodes(folder, games), max_steps, order, cause)
    summary = {"format": 1, "games": len(games), **header, **found}
    write_json(folder / "summary.json", summary)
    return summary


def figures_of(
    episodes: Mapping[str, Mapping[int, Sequence[Episode]]], max_steps: int, order: Sequence[str], cause: Cause | None
) -> dict[str, Any]:
    """{"arms": figures by arm, in `order`, "paired": comparisons}; where games are scored between lost and won, the
    intervals of the mean score too."""
    arms = {}
    names = {label: name_and_k(label, 0) for label in episodes}
    place = {label: order.index(name) if name in order else len(order) for label, (name, _) in names.items()}
    for label in sorted(episodes, key=lambda label: (place[label], *names[label])):
        arms[label] = figures_of_seeds(episodes[label], max_steps, cause)
    compare_with_base(arms, episodes)
    pairs = paired(episodes, list(arms))
    if scores.graded(episodes):
        of_arm = {label: scores.scores_of(seeds) for label, seeds in episodes.items()}
        for label, figures in arms.items():
            figures |= scores.score_figures(of_arm[label].values())
        for name, pair in pairs.items():
            if name != "interaction":
                first, second = name.split(" against ", 1)
                pair |= scores.score_difference(of_arm[first], of_arm[second])
    return {"arms": arms, "paired": pairs}


def figures_of_seeds(
    seeds: Mapping[int, Sequence[Episode]], max_steps: int, cause: Cause | None = None
) -> dict[str, Any]:
    """As `arm_figures`. Of several seeds: figures of all plays together, `wilson95` of `effective_games`; `seeds` has
    figures of each, `seeds_sd` their spread, and `seeds95` is the interval of their mean were the training done again
    (Student's t), where `wilson95` is that were other games drawn."""
    figures = arm_figures([episode for of_seed in seeds.values() for episode in of_seed], max_steps, cause)
    if len(seeds) == 1:
        return figures
    by_game: dict[str, list[bool]] = defaultdict(list)
    for of_seed in seeds.values():
        for episode in of_seed:
            by_game[episode.game].append(episode.won)
    each = {seed: arm_figures(seeds[seed], max_steps) for seed in sorted(seeds)}
    spread, low, high = mean_of_few([one["success"] for one in each.values()])
    figures["effective_games"] = effective_games(list(by_game.values()))
    return figures | {
        "wilson95": [round(bound, 4) for bound in interval(figures)],
        "seeds": {str(seed): {name: one[name] for name in OF_A_SEED} for seed, one in each.items()},
        "seeds_sd": round(spread, 4),
        "seeds95": [round(low, 4), round(high, 4)],
    }


def interval(figures: Mapping[str, Any]) -> tuple[float, float]:
    """The 95% interval of an arm's success, not rounded."""
    games = figures.get("effective_games", figures["games"])
    return wilson(figures["won"] / figures["games"] * games, games)


def interval_of_type(figures: Mapping[str, Any], kind: str) -> tuple[float, float]:
    """The same of an arm's success in one type of task, not rounded; of several seeds each game counts once."""
    won, plays = figures["by_type"][kind]
    games = plays / len(figures.get("seeds", [0]))
    return wilson(won / plays * games, games)


def compare_with_base(arms: dict[str, dict[str, Any]], episodes: Mapping[str, Mapping[int, Sequence[Episode]]]) -> None:
    """Add to every arm how it stands against `base` on the same games: games won by one of the two alone, exact p."""
    if "base" not in episodes:
        return
    base = verdicts_of(episodes["base"])
    for label, figures in arms.items():
        if label != "base":
            base_only, arm_only = discordant(base, verdicts_of(episodes[label]))
            p = mcnemar(base_only, arm_only)
            figures["against_base"] = {
                "arm_only": arm_only,
                "base_only": base_only,
                "p": p,
                "better": bool(arm_only > base_only and p < 0.05),
            }


def paired(episodes: Mapping[str, Mapping[int, Sequence[Episode]]], labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every two arms on the games that both played, "first against second": games won by one alone (of several seeds:
    by more of them), exact p, and the difference of success (second less first) with its 95% interval; and
    "interaction", where the four arms are there: what both axes give together over the sum of what each gives alone."""
    verdicts = {label: verdicts_of(episodes[label]) for label in labels}
    found: dict[str, dict[str, Any]] = {}
    for place, first in enumerate(labels):
        for second in labels[place + 1 :]:
            if pair := compared(verdicts[first], verdicts[second]):
                found[f"{first} against {second}"] = pair
    four = [verdicts[label] for label in AXES if label in verdicts]
    if len(four) == len(AXES):
        games = sorted(set.intersection(*(set(of_arm) for of_arm in four)))
        value, low, high = interaction([[of_arm[game] for of_arm in four] for game in games])
        found["interaction"] = {
            "games": len(games),
            "value": round(value, 4),
            "value95": [round(low, 4), round(high, 4)],
        }
    return found


def compared(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, Any] | None:
    """Two arms, by game the share of plays won, on the games that both played; None where there are none."""
    both = sorted(first.keys() & second.keys())
    if not both:
        return None
    first_only, second_only = discordant(first, second)
    difference, low, high = paired_difference([second[game] - first[game] for game in both])
    return {
        "games": len(both),
        "first_only": first_only,
        "second_only": second_only,
        "p": mcnemar(first_only, second_only),
        "difference": round(difference, 4),
        "difference95": [round(low, 4), round(high, 4)],
    }


def table_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """The rows of the one table a person sees, under `table_columns`."""
    rows, with_scores = [], scored(summary)
    for label, figures in summary["arms"].items():
        low, high = interval(figures)
        against = figures.get("against_base")
        rows.append(
            [
                label,
                f"{figures['won']}/{figures['games']}",
                f"{figures['success']:.1%} [{100 * low:.1f}–{100 * high:.1f}]",
                *([score_cell(figures)] if with_scores else []),
                f"{figures['steps_mean']:.1f}",
                f"{figures['seconds_per_game']:.2f}",
                "–" if figures["tokens_per_game"] is None else f"{figures['tokens_per_game']:.0f}",
                "" if against is None else f"{'yes' if against['better'] else 'cannot tell'}, p = {against['p']:.2g}",
            ]
        )
        for seed, one in figures.get("seeds", {}).items():
            won, success, steps = _seed_cells(one)
            rows.append([f"{label}, seed {seed}", won, success, *([""] if with_scores else []), steps, "", "", ""])
    return rows


def table_columns(summary: Mapping[str, Any]) -> tuple[str, ...]:
    return (*TABLE_COLUMNS[:3], *(["score [95%]"] if scored(summary) else []), *TABLE_COLUMNS[3:])


def scored(summary: Mapping[str, Any]) -> bool:
    """Whether games have partial scores, so that their mean says more than the share that was won."""
    return any("score95" in figures for figures in summary["arms"].values())


def score_cell(figures: Mapping[str, Any]) -> str:
    """Mean score of an arm of games that have partial ones: 0.36 [0.28–0.44]"""
    low, high = figures["score95"]
    return f"{figures['score_mean']:.2f} [{low:.2f}–{high:.2f}]"


def _seed_cells(figures: Mapping[str, Any]) -> list[str]:
    low, high = interval(figures)
    won = f"{figures['won']}/{figures['games']}"
    return [won, f"{figures['success']:.1%} [{100 * low:.1f}–{100 * high:.1f}]", f"{figures['steps_mean']:.1f}"]


TABLE_COLUMNS = ("arm", "won", "success [95%]", "steps", "s/game", "tokens", "better than base")


def finished_games(folder: Path, arm: str, seed: int) -> set[str]:
    """Ids of the games whose episode is on disk. Raises DuomemError naming a file that is torn."""
    files = (path for path in (folder / "episodes" / arm / str(seed)).glob("*.json") if path.name[0] != ".")
    return {_game_of(path, path.stat().st_mtime_ns) for path in files}


def verdicts_of(seeds: Mapping[int, Sequence[Episode]]) -> dict[str, float]:
    """Game -> share of the seeds that played it which won it."""
    plays: dict[str, list[bool]] = defaultdict(list)
    for of_seed in seeds.values():
        for episode in of_seed:
            plays[episode.game].append(episode.won)
    return {game: sum(won) / len(won) for game, won in plays.items()}


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(sum(found) / len(found), 4) if found else None
