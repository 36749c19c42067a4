"""What can be said of success rates: intervals, and paired comparison of arms on the same games."""

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
