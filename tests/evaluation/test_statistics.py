import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.evaluation.statistics import discordant, mcnemar, wilson

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
