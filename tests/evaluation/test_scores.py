from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.evaluation.results import figures_of, table_columns, table_rows
from duomem_mlx.evaluation.scores import graded, score_difference, score_figures, scores_of
from duomem_mlx.report.figures import score_cells
from duomem_mlx.trajectory import Episode, episode_from_record, to_record

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def played(arm: str, scores: list[float]) -> dict[int, list[Episode]]:
    one = Episode(
        environment="w",
        game="g",
        split="test",
        kind="",
        task="do it",
        opening="here",
        steps=(),
        won=False,
        score=0.0,
        end="steps",
        teacher={},
        seconds=1.0,
        arm=arm,
    )
    return {0: [replace(one, game=f"g/{place}", score=score, won=score == 1) for place, score in enumerate(scores)]}


@given(SCORES)
def test_the_interval_holds_the_mean_and_stays_within_what_a_score_may_be(scores: list[float]) -> None:
    low, high = score_figures(scores)["score95"]
    assert 0 <= low <= sum(scores) / len(scores) + 1e-4
    assert sum(scores) / len(scores) - 1e-4 <= high <= 1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_the_difference_the_other_way_round_has_the_other_sign(pairs: list[tuple[float, float]]) -> None:
    first, second = ({str(i): pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
    there, back = score_difference(first, second), score_difference(second, first)
    assert there["score_difference"] == pytest.approx(-back["score_difference"], abs=1e-4)
    assert there["score_difference95"] == pytest.approx(
        [-bound for bound in reversed(back["score_difference95"])], abs=1e-4
    )


def test_a_table_has_scores_where_they_say_more_than_won_and_lost() -> None:
    episodes = {"base": played("base", [0.0, 0.25, 0.25, 0.0]), "adapter": played("adapter", [1.0, 0.75, 1.0, 0.5])}
    found = figures_of(episodes, 30, ["base", "adapter"], None)
    assert "score [95%]" in table_columns(found)
    assert [len(row) for row in table_rows(found)] == [len(table_columns(found))] * 2
    assert table_rows(found)[1][3].startswith("0.81 [")
    pair = found["paired"]["base against adapter"]
    assert pair["score_difference"] == 0.6875
    assert pair["score_difference95"][0] > 0.3
    assert score_cells(pair)[0].startswith("+0.69 [")


def test_won_and_lost_alone_leave_table_and_summary_as_they_were() -> None:
    episodes = {"base": played("base", [0.0, 0.0]), "adapter": played("adapter", [1.0, 0.0])}
    found = figures_of(episodes, 30, ["base", "adapter"], None)
    assert not graded(episodes)
    assert "score [95%]" not in table_columns(found)
    assert all("score95" not in figures for figures in found["arms"].values())
    assert score_cells(found["paired"]["base against adapter"]) == []


def test_of_several_seeds_a_game_counts_once() -> None:
    seeds = {0: played("a", [1.0, 0.0])[0], 1: played("a", [0.5, 0.5])[0]}
    assert scores_of(seeds) == {"g/0": 0.75, "g/1": 0.25}


def test_a_score_survives_the_disk(tmp_path: Path) -> None:
    [episode] = played("a", [0.33])[0]
    assert episode_from_record(to_record(episode), "here").score == 0.33
