"""Partial scores beside won and lost: told where some game's says more than that, by the episodes alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from duomem_mlx.evaluation.statistics import mean_interval
from duomem_mlx.trajectory import Episode

Seeds = Mapping[int, Sequence[Episode]]


def graded(episodes: Mapping[str, Seeds]) -> bool:
    """Whether any game of any arm was scored between lost and won."""
    return any(0 < e.score < 1 for seeds in episodes.values() for of_seed in seeds.values() for e in of_seed)


def scores_of(seeds: Seeds) -> dict[str, float]:
    """Game -> mean score, 0 to 1, of the seeds that played it."""
    plays: dict[str, list[float]] = defaultdict(list)
    for of_seed in seeds.values():
        for episode in of_seed:
            plays[episode.game].append(episode.score)
    return {game: fmean(scores) for game, scores in plays.items()}


def score_figures(scores: Iterable[float]) -> dict[str, Any]:
    """{"score95": the 95% interval of the mean, were other games drawn}."""
    _, low, high = mean_interval(list(scores))
    return {"score95": [round(max(0.0, low), 4), round(min(1.0, high), 4)]}


def score_difference(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, Any]:
    """The second arm's mean score less the first's on the games that both played, at least one, with its 95%
    interval."""
    mean, low, high = mean_interval([second[game] - first[game] for game in sorted(first.keys() & second.keys())])
    return {
        "score_difference": round(mean, 4),
        "score_difference95": [round(max(-1.0, low), 4), round(min(1.0, high), 4)],
    }
