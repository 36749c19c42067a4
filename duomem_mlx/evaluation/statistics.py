"""What can be said of success rates: intervals, and paired comparison of arms on the same games."""

from collections.abc import Sequence
from math import comb, sqrt

Z95 = 1.959963984540054  # two-sided 95% quantile of the normal distribution


def wilson(won: int, games: int) -> tuple[float, float]:
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


def discordant(first: dict[str, bool], second: dict[str, bool]) -> tuple[int, int]:
    """Games won by the first arm alone and by the second alone, among the games that both played."""
    both = first.keys() & second.keys()
    return (
        sum(first[game] and not second[game] for game in both),
        sum(second[game] and not first[game] for game in both),
    )


def paired_difference(only_first: int, only_second: int, games: int) -> tuple[float, float, float]:
    """The second arm's success less the first's on the same games, with its 95% interval: Wald's with half a game added
    to each of the four cells (A. Agresti and Y. Min, 2005), which keeps its level for few games too. Raises ValueError
    when the games are fewer than those that the two differ in, or none."""
    if games < max(1, only_first + only_second):
        raise ValueError(f"{games} games cannot hold {only_first} and {only_second}")
    first, second, total = only_first + 0.5, only_second + 0.5, games + 2
    centre = (second - first) / total
    half = Z95 * sqrt(first + second - (second - first) ** 2 / total) / total
    return (only_second - only_first) / games, max(-1.0, centre - half), min(1.0, centre + half)


def interaction(games: Sequence[Sequence[bool]]) -> tuple[float, float, float]:
    """What both axes give beyond the sum of what each gives, with its 95% interval (normal, of the mean over the
    games). Each game: won with neither, with the first, with the second, with both. Raises ValueError for none."""
    if not games:
        raise ValueError("there are no games")
    each = [both - first - second + neither for neither, first, second, both in games]
    mean = sum(each) / len(each)
    spread = sqrt(sum((one - mean) ** 2 for one in each) / max(1, len(each) - 1) / len(each))
    return mean, mean - Z95 * spread, mean + Z95 * spread
