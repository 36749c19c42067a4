"""What can be said of success rates: intervals, and paired comparison of arms on the same games."""

from collections.abc import Mapping, Sequence
from math import comb, sqrt
from statistics import fmean, stdev

Z95 = 1.959963984540054  # two-sided 95% quantile of the normal distribution
# Student's t, the same quantile, with 1 to 9 degrees of freedom
T95 = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157)


def wilson(won: float, games: float) -> tuple[float, float]:
    """95% Wilson score interval of a success rate (E. B. Wilson, 1927), as fractions. Raises ValueError when
    `games` is not positive or `won` is not among them."""
    if games <= 0 or not 0 <= won <= games:
        raise ValueError(f"{won} of {games} is no success rate")
    rate, z2 = won / games, Z95 * Z95
    centre = (rate + z2 / (2 * games)) / (1 + z2 / games)
    half = Z95 / (1 + z2 / games) * sqrt(rate * (1 - rate) / games + z2 / (4 * games * games))
    low = 0.0 if won == 0 else centre - half
    high = 1.0 if won == games else centre + half
    return low, high


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test: `only_first` games were won by the first arm alone, `only_second` by the
    second alone; under the hypothesis of no difference each of these was a fair coin (Binomial(n, ½))."""
    discordant = only_first + only_second
    tail = sum(comb(discordant, i) for i in range(min(only_first, only_second) + 1))
    outcomes: int = 2**discordant
    return min(1.0, 2 * tail / outcomes)


def effective_games(games: Sequence[Sequence[bool]]) -> float:
    """How many games, each played once, say as much of the success rate as these, each played by several adapters: the
    same game is won or lost by most of them, so that they are worth more than the games and less than the plays. Out of
    the variance of the rate with the games as clusters, as E. L. Korn and B. I. Graubard (1998) have it, for `wilson`;
    the number of games itself where each was played once, or all plays ended alike."""
    plays = [won for game in games for won in game]
    rate = fmean(plays)
    clustered = sum(sum(won - rate for won in game) ** 2 for game in games) / len(plays) ** 2
    if rate in (0, 1):
        return float(len(games))
    worth = rate * (1 - rate) / clustered if clustered else len(plays)
    return min(float(len(plays)), max(float(len(games)), worth))


def mean_of_few(values: Sequence[float]) -> tuple[float, float, float]:
    """Standard deviation of at least two success rates, and the 95% interval of their mean by Student's t; of more
    than ten with the quantile of ten, a little too wide."""
    spread = stdev(values)
    half = T95[min(len(values) - 1, len(T95)) - 1] * spread / sqrt(len(values))
    return spread, max(0.0, fmean(values) - half), min(1.0, fmean(values) + half)


def discordant(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[int, int]:
    """Games that the first arm won more often than the second, and the other way round, among those that both played:
    with one play each those that it won alone."""
    both = first.keys() & second.keys()
    return sum(first[game] > second[game] for game in both), sum(second[game] > first[game] for game in both)


def paired_difference(differences: Sequence[float]) -> tuple[float, float, float]:
    """The second arm's success less the first's on the same games, with its 95% interval, out of the difference in each
    game: Wald's with half a game added to each of the four cells (A. Agresti and Y. Min, 2005), which keeps its level
    for few games too; where differences are shares, the same. Raises ValueError where there are none."""
    if not differences:
        raise ValueError("there are no games")
    total, found = len(differences) + 2, sum(differences)
    half = Z95 * sqrt(sum(one * one for one in differences) + 1 - found**2 / total) / total
    return found / len(differences), max(-1.0, found / total - half), min(1.0, found / total + half)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 95% interval (normal, by the spread of the values). Raises ValueError where there are none."""
    if not values:
        raise ValueError("there are no games")
    mean = sum(values) / len(values)
    half = Z95 * sqrt(sum((one - mean) ** 2 for one in values) / max(1, len(values) - 1) / len(values))
    return mean, mean - half, mean + half


def interaction(games: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """What both axes give beyond the sum of what each gives, with its 95% interval. Each game: won with neither, with
    the first, with the second, with both. Raises ValueError for none."""
    return mean_interval([both - first - second + neither for neither, first, second, both in games])
