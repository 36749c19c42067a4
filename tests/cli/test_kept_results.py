"""What `evaluate` leaves is taken by scripts/make_results.py, for every kind of measurement, and is on the page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_results
import pytest
import results_page

from duomem_mlx.errors import UsageError

from .test_evaluate import seeded, words  # noqa: F401


@pytest.fixture
def keep() -> Callable[..., dict[str, Any]]:
    """Takes results folders of `words` as `kind`, and gives back what the page is made of."""

    def run(kind: str, *folders: str, adapter: str = "adapter") -> dict[str, Any]:
        found = make_results.taken(kind, [Path(folder) for folder in folders], adapter, "bank")
        return json.loads(json.dumps({kind: found}))

    return run


def without(words: list[str], *names: str) -> list[str]:  # noqa: F811
    """The call without these options and their values."""
    left = list(words)
    for name in names:
        at = left.index(name)
        del left[at : at + 2]
    return left


ALL_ARMS = ("base", "own-memories", "memories", "random-memories", "adapter", "duomem")


def test_a_ladder_with_all_arms(call, words, keep, tmp_path) -> None:  # noqa: F811
    arms = [word for arm in ALL_ARMS for word in ("--arm", arm)]
    assert call(*words, "--own-memories", "own", *arms)[0] == 0
    page = results_page.page(kept := keep("valid_seen", "out"))
    for arm in ALL_ARMS:
        assert f"\n| {arm} | " in page
        assert set(kept["valid_seen"]["arms"][arm]["tokens"]) == {"new", "cached", "out"}
    assert "The arms " not in page
    assert "prompt, read anew" in page
    assert kept["valid_seen"]["footprint"]["bank_memories"] == 4
    assert "not played" not in page.split("adapter-own-memories")[0]


def test_what_is_not_finished_is_refused(call, words, keep, tmp_path) -> None:  # noqa: F811
    assert call(*words, "--arm", "base", "--arm", "adapter")[0] == 0
    next((tmp_path / "out" / "episodes" / "adapter" / "0").glob("*.json")).unlink()
    with pytest.raises(UsageError, match="not finished: 1 games of adapter"):
        keep("valid_seen", "out")


def test_the_bare_students_own_games(call, words, keep) -> None:  # noqa: F811
    assert call(*words, "--arm", "base")[0] == 0
    assert keep("own", "out")["own"]["arms"]["base"]["won"] == 0


def test_several_numbers_of_memories(call, words, keep) -> None:  # noqa: F811
    assert call(*without(words, "--k"), "--k", "2,0,1,4", "--arm", "duomem", "--arm", "memories")[0] == 0
    page = results_page.page(keep("k", "out"))
    assert "| arm | k = 0 | k = 1 | k = 2 | k = 4 |" in page


def test_several_seeds(call, words, keep, tmp_path) -> None:  # noqa: F811
    for seed in (5, 3):
        seeded(tmp_path / f"seed{seed}", seed)
    adapters = ["--adapter", "seed5", "--adapter", "seed3"]
    assert call(*without(words, "--adapter"), *adapters, "--arm", "adapter", "--arm", "duomem")[0] == 0
    page = results_page.page(keep("seeds", "out", adapter="seed3"))
    assert "| adapter | 2: 3, 5 | " in page
    assert "| duomem, seed 5 | " in page


def test_the_same_student_in_four_bits(call, words, keep, tmp_path) -> None:  # noqa: F811
    assert call("models", "convert", "base", "--bits", "4", "--out", "packed")[0] == 0
    arms = ["--max-steps", "2", "--arm", "adapter", "--arm", "duomem"]
    assert call(*words, *arms)[0] == 0
    assert call(*without(words, "--model", "--out"), *arms, "--model", "packed", "--out", "out4")[0] == 0
    found = keep("four_bits", "out", "out4")["four_bits"]
    for same in found["same"].values():
        assert same["same"] + len(same["parted"]) == same["games"] == 2
        assert all(at["first"] != at["second"] for at in same["parted"])
    whole, packed = found["evaluations"]
    assert packed["model_bytes"] < whole["model_bytes"]
    assert f"| adapter | 4 bits, float32 | {packed['model_bytes']:,} | " in results_page.page({"four_bits": found})


def test_another_world_with_scores(call, words, keep, tmp_path) -> None:  # noqa: F811
    world = ["--env", "duomem_mlx.example_world:TaughtChests", "--games", "test", "--limit", "3"]
    assert call(*without(words, "--games"), *world, "--arm", "base", "--arm", "adapter")[0] == 0
    path = tmp_path / "out" / "summary.json"
    summary = json.loads(path.read_text())
    page = results_page.page(keep("scienceworld", "out"))
    assert "## ScienceWorld" in page
    for arm in ("base", "adapter", "teacher"):
        assert f"\n| {arm} | {summary['arms'][arm]['won']}/3 | " in page
    assert "\n| base | adapter | 3 | " in page


def test_a_kind_needs_its_number_of_folders(keep) -> None:
    with pytest.raises(UsageError, match=r"four_bits is made from 2 folder\(s\), not 1"):
        keep("four_bits", "out")
