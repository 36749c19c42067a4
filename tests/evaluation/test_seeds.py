"""Arms of several training seeds: what is played, and what is said of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.evaluation.results import figures_of, interval, read_episodes, summarise, table_rows
from duomem_mlx.evaluation.runner import evaluate
from duomem_mlx.evaluation.statistics import wilson

from ..report.folders import episode, step
from .test_runner import ARMS, GAMES, World, agent_for, run_in  # noqa: F401

STEPS = [step("look", "You see a mug 1.")]


def played(label: str, won: str) -> list[Any]:
    """A game a letter, won where it is w."""
    return [episode(f"g/{n}", label, letter == "w", STEPS) for n, letter in enumerate(won)]


def test_each_adapter_plays_all_games_and_the_bare_student_plays_them_once(tmp_path: Path, agent_for: Any) -> None:  # noqa: F811
    asked = list[int | None]()

    def told(adapter: int | None) -> Any:
        asked.append(adapter)
        return agent_for(adapter)

    run = replace(run_in(tmp_path, World()), adapter_seeds=(0, 7), ks=[2])
    summary = evaluate(run, ARMS, told)
    assert asked == [None, 0, 7]
    seeds = {label: set(of_arm) for label, of_arm in read_episodes(tmp_path).items()}
    assert seeds == {"base": {0}, "memories": {0}, "random-memories": {0}, "adapter": {0, 7}, "duomem": {0, 7}}
    assert summary["arms"]["adapter"]["games"] == 2 * len(GAMES)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json") if path.name != "summary.json"}
    evaluate(run, ARMS, told)
    assert asked == [None, 0, 7]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def test_an_arm_stands_with_the_mean_over_its_seeds_and_each_of_them_beside_it() -> None:
    episodes = {
        "base": {0: played("base", "wlll")},
        "adapter": {1: played("adapter", "wwll"), 2: played("adapter", "wwwl")},
    }
    found = figures_of(episodes, 30, ["base", "adapter"], None)
    figures = found["arms"]["adapter"]
    assert (figures["won"], figures["games"], figures["success"]) == (5, 8, 0.625)
    assert {seed: one["won"] for seed, one in figures["seeds"].items()} == {"1": 2, "2": 3}
    assert figures["seeds_sd"] == pytest.approx(0.25 / 2**0.5, abs=1e-4)
    low, high = figures["wilson95"]
    assert wilson(5, 8)[0] > low  # eight plays of four games say less than eight games
    assert wilson(2.5, 4)[0] < low < 0.625 < high < wilson(2.5, 4)[1]
    assert [row[0] for row in table_rows(found)] == ["base", "adapter", "adapter, seed 1", "adapter, seed 2"]
    pair = found["paired"]["base against adapter"]
    assert (pair["games"], pair["first_only"], pair["second_only"]) == (4, 0, 2)
    assert pair["difference"] == pytest.approx(0.625 - 0.25)
    assert json.loads(json.dumps(found)) == found


def test_of_one_seed_nothing_is_said_that_was_not_said_before() -> None:
    figures = figures_of({"adapter": {3: played("adapter", "wwl")}}, 30, [], None)["arms"]["adapter"]
    assert not {"seeds", "seeds95", "effective_games"} & figures.keys()
    assert interval(figures) == wilson(2, 3)


def test_a_seed_that_has_not_played_all_games_counts_for_those_it_has(tmp_path: Path) -> None:
    from ..report.folders import results

    folder = results(tmp_path, played("adapter", "wwll"), more_seeds={5: played("adapter", "wl")}, finished=False)
    summary = summarise(folder, [f"g/{n}" for n in range(4)], {}, 30, [])
    figures = summary["arms"]["adapter"]
    assert (figures["won"], figures["games"]) == (3, 6)
    assert figures["seeds"]["5"]["games"] == 2
