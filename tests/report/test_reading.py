import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.report.reading import read_results, read_run

from .folders import results, two_games


def read(folder: Path):
    return read_results(folder, read_run(folder), None)


def test_figures_are_those_of_the_summary(tmp_path):
    folder = results(tmp_path / "r", two_games(("base", "memories", "adapter", "duomem")))
    summary = json.loads((folder / "summary.json").read_text())
    found = read(folder)
    assert json.loads(json.dumps(found.arms)) == summary["arms"]
    assert json.loads(json.dumps(found.paired)) == summary["paired"]
    assert found.unfinished == {}


def test_an_unfinished_evaluation_is_read_and_says_what_is_left(tmp_path):
    found = read(results(tmp_path / "r", two_games()[:3], finished=False))
    assert found.unfinished == {"adapter": 1}
    assert found.header["model"] == "smollm2-135m"


def test_arms_of_several_k_make_a_curve_that_begins_without_memories(tmp_path):
    arms = ("base", "memories", "memories.k10", "adapter", "duomem")
    assert read(results(tmp_path / "a", two_games(arms), k=[4, 10])).by_k == {
        "memories": {0: "base", 4: "memories", 10: "memories.k10"}
    }
    assert read(results(tmp_path / "b", two_games(("memories", "memories.k0")))).by_k == {
        "memories": {0: "memories.k0", 2: "memories"}
    }


def test_a_folder_of_somebodys_own_is_no_seed(tmp_path):
    folder = results(tmp_path / "r", two_games())
    (folder / "episodes" / "base" / "kept apart").mkdir()
    (folder / "episodes" / "base" / "kept apart" / "g__1.json").write_text("{")
    assert read(folder).unfinished == {}


def spoil(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: next(folder.glob(name)).write_text(text)


@pytest.mark.parametrize(
    ("harm", "kind", "told"),
    [
        (lambda folder: (folder / "config.json").unlink(), UsageError, "There are no results at"),
        (spoil("config.json", '{"format": 1, "run": {"command": "train"}}'), UsageError, "`duomem-mlx train` made"),
        (spoil("config.json", '{"format": 1}'), UsageError, "is not an evaluation's"),
        (spoil("config.json", '{"format": 7, "run": {}}'), DuomemError, "format 7.*Install a newer"),
        (spoil("config.json", '{"format": "x"}'), DuomemError, "format x, this version reads 1. Evaluate again"),
        (spoil("config.json", "[]"), DuomemError, "is not a JSON object"),
        (spoil("config.json", '{"format": 1, "run": {"command": "evaluate"}}'), DuomemError, "neither steps nor k"),
        (spoil("summary.json", '{"format": 2}'), DuomemError, "summary.json has format 2.*Install a newer"),
        (spoil("summary.json", '{"form'), DuomemError, "summary.json is not whole JSON"),
        (spoil("episodes/base/0/g__1.json", '{"form'), DuomemError, "g__1.json cannot be read"),
        (spoil("episodes/base/0/g__1.json", "[" * 100_000), DuomemError, "g__1.json cannot be read"),
        (spoil("episodes/base/0/g__1.json", '{"format": 9}'), DuomemError, "format 9.*Install a newer"),
        (spoil("episodes/base/0/g__1.json", '{"format": 1}'), DuomemError, "is not a trajectory"),
    ],
)
def test_what_cannot_be_read_is_told_by_name(tmp_path, harm, kind, told):
    folder = results(tmp_path / "r", two_games())
    harm(folder)
    with pytest.raises(kind) as caught:
        read(folder)
    assert type(caught.value) is kind
    assert re.search(told, str(caught.value))


def test_a_folder_in_which_nothing_was_played_yet(tmp_path):
    with pytest.raises(UsageError, match="There are no results"):
        read(results(tmp_path / "r", [], finished=False))


def test_each_seed_of_an_arm_can_be_looked_at_and_is_waited_for(tmp_path):
    base, adapter = two_games()[:2], two_games(("adapter",))
    found = read(results(tmp_path / "r", [*base, *adapter], more_seeds={4: adapter[:1]}, finished=False))
    assert found.views == {"base": ("base", 0), "adapter, seed 0": ("adapter", 0), "adapter, seed 4": ("adapter", 4)}
    assert found.unfinished == {"adapter, seed 4": 1}
    assert len(found.of_arm("adapter")) == 3


def test_a_file_named_for_its_folder_is_told(tmp_path):
    folder = results(tmp_path / "r", two_games())
    with pytest.raises(UsageError, match=r"summary\.json is a file\. Name the folder"):
        read_run(folder / "summary.json")


@pytest.mark.parametrize("text", ["[]", '{"format": 1}', "{"])
def test_an_episode_that_is_none_says_how_it_is_played_again(tmp_path, text):
    folder = results(tmp_path / "r", two_games())
    next((folder / "episodes" / "base" / "0").iterdir()).write_text(text)
    with pytest.raises(DuomemError, match="Remove that file, and evaluate again"):
        read(folder)
