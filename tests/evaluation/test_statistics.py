import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.evaluation.statistics import (
    discordant,
    effective_games,
    interaction,
    mcnemar,
    mean_of_few,
    paired_difference,
    wilson,
)

stats = pytest.importorskip("scipy.stats", reason="scipy is the reference")


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(table: tuple[int, int]) -> None:
    won, games = table
    reference = stats.binomtest(won, games).proportion_ci(method="wilson")
    assert wilson(won, games) == pytest.approx((reference.low, reference.high), abs=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_equals_scipys_exact_binomial(first: int, second: int) -> None:
    reference = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize(("won", "games"), [(0, 0), (-1, 4), (5, 4)])
def test_what_is_no_rate_is_refused(won: int, games: int) -> None:
    with pytest.raises(ValueError):
        wilson(won, games)


def test_only_games_that_both_played_are_compared() -> None:
    assert discordant({"a": True, "b": False, "c": True}, {"a": False, "b": True, "d": True}) == (1, 1)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 200))
def test_the_paired_interval_is_scipys_of_the_table_with_half_a_game_in_each_cell(first, second, same) -> None:
    games = first + second + same
    difference, low, high = paired_difference([-1.0] * first + [1.0] * second + [0.0] * same)
    values = np.array([-1.0] * (2 * first + 1) + [1.0] * (2 * second + 1) + [0.0] * (2 * same + 2))  # doubled
    centre, spread = values.mean(), values.std() / np.sqrt(games + 2)
    assert difference == pytest.approx((second - first) / games)
    assert (low, high) == pytest.approx(np.clip(stats.norm.interval(0.95, centre, spread), -1, 1), abs=1e-9)


@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.5, 0.7), (0.02, 0.9)])
def test_the_paired_interval_holds_the_truth_as_often_as_it_says(rates) -> None:
    rng = np.random.default_rng(0)
    truth = rates[1] - rates[0]
    held = 0
    for _ in range(1000):
        both = rng.random((2, 60)) < np.array(rates)[:, None]
        _, low, high = paired_difference(list(both[1].astype(float) - both[0]))
        held += low <= truth <= high
    assert held >= 930


@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=2, max_size=150))
def test_the_interaction_is_the_mean_of_each_games_own(games) -> None:
    value, low, high = interaction(games)
    each = np.array([both - first - second + neither for neither, first, second, both in games], float)
    assert value == pytest.approx(each.mean())
    assert (low + high) / 2 == pytest.approx(value)
    assert (high - low) / 2 == pytest.approx(stats.norm.ppf(0.975) * stats.sem(each), abs=1e-9)


def test_of_no_games_nothing_is_said() -> None:
    with pytest.raises(ValueError):
        paired_difference([])
    with pytest.raises(ValueError):
        interaction([])


@given(st.lists(st.booleans(), min_size=1, max_size=150), st.integers(1, 4))
def test_games_played_once_or_always_alike_are_worth_themselves(won, plays) -> None:
    assert effective_games([[one] * plays for one in won]) == pytest.approx(len(won))


@given(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=60))
def test_plays_are_worth_no_less_than_the_games_and_no_more_than_themselves(games) -> None:
    assert len(games) <= effective_games(games) <= 3 * len(games)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
def test_the_interval_of_several_seeds_holds_the_truth_as_often_as_it_says(alike) -> None:
    """80 games, 3 seeds; a game is decided for all seeds at once with the probability `alike`. Of 600 times at least
    558, which 0.95 misses once in 150."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(600):
        at_once = rng.random((80, 1)) < alike
        won = np.where(at_once, rng.random((80, 1)) < 0.75, rng.random((80, 3)) < 0.75)
        games = effective_games(won.tolist())
        low, high = wilson(won.mean() * games, games)
        held += low <= 0.75 <= high
    assert held >= 558


@given(st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_the_mean_of_few_is_scipys_t(values) -> None:
    spread, low, high = mean_of_few(values)
    assert spread == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    if spread > 1e-9:
        reference = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (low, high) == pytest.approx(np.clip(reference, 0, 1), abs=1e-6)
