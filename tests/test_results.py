"""README and docs/results.md are what scripts/make_results.py makes of docs/results, and of nothing else."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import compare_recipes
import make_results
import pytest
import results_missing
import results_page
from results_wanted import refuse_others

from duomem_mlx.cli.main import status
from duomem_mlx.errors import UsageError
from duomem_mlx.evaluation.arms import ARMS, TEACHER

from .test_readme import unknown

KEPT = make_results.read_kept()


def test_readme_and_page_are_what_the_script_makes() -> None:
    readme = make_results.README.read_text(encoding="utf-8")
    assert make_results.with_block(readme, KEPT) == readme
    assert make_results.PAGE.read_text(encoding="utf-8") == results_page.page(KEPT)


def test_the_kept_summarys_rates_follow_from_its_counts() -> None:
    from duomem_mlx.evaluation.statistics import wilson

    for figures in KEPT["valid_seen"]["arms"].values():
        assert figures["success"] == figures["won"] / figures["games"]
        if "seeds" not in figures:
            assert figures["wilson95"] == [round(bound, 4) for bound in wilson(figures["won"], figures["games"])]
        assert sum(games for _, games in figures["by_type"].values()) == figures["games"]


def test_what_is_not_there_is_not_on_the_page_but_as_a_command() -> None:
    page = results_page.page({})
    assert re.findall(r"^## (.*)$", page, re.M) == ["Not measured"]
    assert "|" not in page
    for name in results_missing.COMMANDS:
        assert f"make_results.py {name} " in page
        kept = {**KEPT} if name == "valid_seen" else {name: {}}
        assert f"make_results.py {name} " not in results_missing.missing(kept)


def test_what_is_there_stands_under_its_commands() -> None:
    page = results_page.page(KEPT)
    for name in results_missing.COMMANDS:
        assert page.count(f"make_results.py {name} ") == 1 + (name == "recipes" and "Of the recipes, " in page)


def test_a_recipe_that_was_not_followed_is_said() -> None:
    followed = {name: {} for name in compare_recipes.RECIPES if name != "chat"}
    assert "--only chat\n" in results_missing.missing({**KEPT, "recipes": {"recipes": followed}})
    followed["chat"] = {}
    assert "--only" not in results_missing.missing({**KEPT, "recipes": {"recipes": followed}})


def test_what_readme_and_card_tell_in_words_is_what_was_measured() -> None:
    card = (make_results.ROOT / "adapters" / "smollm2-135m-alfworld" / "README.md").read_text(encoding="utf-8")
    readme = make_results.README.read_text(encoding="utf-8")
    arms, own = KEPT["valid_seen"]["arms"], KEPT["own"]["arms"]["base"]
    silent, said = arms["base"]["flags"]["no_action"], arms["base"]["answers"]
    won = {arm: [one["won"] for one in KEPT["seeds"]["arms"][arm]["seeds"].values()] for arm in ("adapter", "duomem")}
    assert own["won"] == 0
    assert [won["duomem"][0], won["adapter"][0]] == [arms["duomem"]["won"], arms["adapter"]["won"]]
    for text, told in [
        (readme, f"in {silent:,} of its {said:,} turns there was no action"),
        (readme, f"none of {own['games']} training games"),
        (card, f"{won['duomem'][0]} won with the shipped memories, {won['adapter'][0]} without"),
        (
            card,
            "won {} and {} of the 140 games with memories, {} and {} without".format(
                *won["duomem"][1:], *won["adapter"][1:]
            ),
        ),
    ]:
        assert told in " ".join(text.split())


def test_every_comparison_that_is_asked_for_is_named_as_evaluations_name_it() -> None:
    order = [*ARMS, TEACHER]
    for name in results_page.ASKED:
        first, second = name.split(" against ")
        assert order.index(first) < order.index(second), name


RECIPES = KEPT["recipes"]
FIRST = {name: RECIPES["recipes"][name] for name in ("plain", "chat")}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({**RECIPES, "games": 2}, "100 to judge by"),
        ({**RECIPES, "model": "other"}, "the shipped student"),
        ({**RECIPES, "recipes": FIRST}, "thoughts, half, .* were not followed there"),
        ({**RECIPES, "recipes": {**RECIPES["recipes"], "chat": {**FIRST["chat"], "games": 40}}}, "chat had others"),
    ],
)
def test_no_recipe_that_is_kept_is_lost(other: dict[str, Any], why: str) -> None:
    refuse_others("recipes", RECIPES, KEPT)
    with pytest.raises(UsageError, match=why):
        refuse_others("recipes", other, KEPT)


@pytest.mark.parametrize("kind", sorted(set(KEPT) - {"recipes"}))
def test_what_is_kept_is_what_its_kind_needs(kind: str) -> None:
    refuse_others(kind, KEPT[kind], KEPT)
    for other in [KEPT["own"] if kind != "own" else KEPT["seeds"], {**first_of(kind), "arms": {}}]:
        with pytest.raises(UsageError, match="Nothing was kept"):
            refuse_others(kind, other, KEPT)


def first_of(kind: str) -> dict[str, Any]:
    return KEPT[kind].get("evaluations", [KEPT[kind]])[0]


WHOLE, PACKED = KEPT["four_bits"]["evaluations"]


@pytest.mark.parametrize(
    ("kind", "other", "why"),
    [
        ("valid_seen", KEPT["k"], "140 games, not 70"),
        ("valid_seen", KEPT["seeds"], "base, memories, random-memories were not played"),
        ("seeds", KEPT["valid_seen"], "adapters of several training seeds"),
        ("valid_seen", {**KEPT["valid_seen"], "model": "another"}, "smollm2-135m and at most 30"),
        ("k", {**KEPT["valid_seen"], "games": 70}, "several numbers of memories"),
        ("four_bits", {"evaluations": KEPT["four_bits"]["evaluations"][:1] * 2}, "then in 4 bits"),
        ("four_bits", {"evaluations": [WHOLE, {**PACKED, "adapter_hash": "other"}]}, "the same adapter in both"),
        ("four_bits", {"evaluations": [WHOLE, {**PACKED, "memories_hash": None}]}, "the same memories in both"),
        ("valid_seen", {**KEPT["valid_seen"], "decoding": {"temp": 0.7}}, "greedy play .* without decoding"),
        ("k", {**KEPT["k"], "learn": "steps"}, "greedy play .* without learn"),
        ("own", {**KEPT["own"], "games": 1}, "40 games, not 1"),
        ("own", {**KEPT["own"], "adapter": "mine"}, "the bare student, not one with the adapter mine"),
    ],
)
def test_another_measurement_is_refused(kind: str, other: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        refuse_others(kind, other, KEPT)


@pytest.fixture
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with README, page and what is kept, which the script writes to."""
    for name in ("README", "PAGE", "KEPT"):
        there = getattr(make_results, name)
        mine = tmp_path / there.name
        shutil.copytree(there, mine) if there.is_dir() else shutil.copy(there, mine)
        monkeypatch.setattr(make_results, name, mine)
    return tmp_path


def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> bool:
    """Whether a call of the script ends with 1 and leaves every file in the folder as it was."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(sys, "argv", ["make_results.py", *words])
    return status(make_results.main) == 1 and before == {path: path.read_bytes() for path in before}


SMALL = {"format": 1, "games": 1, "train_games": 1, "model": None}


@pytest.mark.parametrize(
    "text",
    ["", '{"recipes": ', "[]", '{"hello": 1}']
    + [json.dumps(SMALL | {"recipes": recipes}) for recipes in ([], {"plain": {}}, {"plain": 5})],
)
def test_what_is_torn_or_another_thing_changes_nothing(text: str, aside: Path, monkeypatch, capsys) -> None:
    (aside / "folder").mkdir()
    (aside / "folder" / "recipes.json").write_text(text, encoding="utf-8")
    assert refused(aside, monkeypatch, "recipes", str(aside / "folder"))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "bug" not in told


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("results/k.json", "{}", "no measurement"),
        ("results/k.json", '{"format": 99}', "this version reads up to 1"),
        ("README.md", "# nothing else", "lacks the lines"),
    ],
)
def test_what_is_kept_is_read_with_the_same_care(name, text, told, aside: Path, monkeypatch, capsys) -> None:
    (aside / name).write_text(text, encoding="utf-8")
    assert refused(aside, monkeypatch)
    assert told in capsys.readouterr().err


def test_without_a_ladder_the_rest_is_still_written(aside: Path, monkeypatch) -> None:
    (aside / "results" / "valid_seen.json").unlink()
    monkeypatch.setattr(sys, "argv", ["make_results.py"])
    assert status(make_results.main) == 0
    assert "scripts/reproduce.sh\n" in (aside / "results.md").read_text(encoding="utf-8").split("## Not measured")[1]
    assert "| arm |" not in (aside / "README.md").read_text(encoding="utf-8")


def test_a_student_of_half_the_bytes_has_as_many_parameters() -> None:
    half = {**KEPT["valid_seen"], "dtype": "float16", "model_bytes": KEPT["valid_seen"]["model_bytes"] // 2}
    assert results_page.parameters(half) == results_page.parameters(KEPT["valid_seen"])


def changed(found: Any, times: float) -> Any:
    """The same with every number another one."""
    if isinstance(found, dict):
        return {name: changed(value, times) for name, value in found.items()}
    if isinstance(found, list):
        return [changed(value, times) for value in found]
    if isinstance(found, bool) or found is None or isinstance(found, str):
        return found
    return found * 1009 + 400007 if isinstance(found, int) else found * times + 0.0113


def strings(found: Any) -> set[str]:
    """All texts in what is kept: names, actions."""
    if isinstance(found, dict):
        return {text for pair in found.items() for value in pair for text in strings(value)}
    if isinstance(found, list):
        return {text for value in found for text in strings(value)}
    return {found} if isinstance(found, str) else set()


def test_no_path_of_a_machine_is_kept() -> None:
    assert not [text for text in strings(KEPT) if Path(text).is_absolute()]


FIGURE = re.compile(r"\d+/\d|\d[.,]\d|\d%")


def cells(page: str) -> dict[tuple[int, int], str]:
    """The cells of a page's tables by row and column."""
    rows = (line[2:-2].split(" | ") for line in page.splitlines() if line[:1] == "|")
    return {(i, j): cell.replace("\\", "") for i, row in enumerate(rows) for j, cell in enumerate(row)}


def test_no_figure_comes_from_elsewhere() -> None:
    ladder = {text for rung in results_page.paper.LADDER for text in results_page.cells_of_paper(rung)}
    of_paper = ladder | {theirs for _, _, theirs in results_page.differing(KEPT["valid_seen"])}
    was = cells(results_page.page(KEPT))
    figures = {cell for cell in was.values() if FIGURE.search(cell)}
    assert len(figures) > 30
    # Twice, since a changed number may by chance be rounded to what it was.
    now, then = (cells(results_page.page(changed(KEPT, times))) for times in (0.517, 0.713))
    assert was.keys() == now.keys() == then.keys()
    kept = {cell for place, cell in was.items() if cell == now[place] == then[place]}
    titles = {cell for cell in figures if "95%" in cell}
    words = {text for row in results_page.DIFFERS for text in row} | strings(KEPT)
    assert kept & figures <= of_paper | titles | words


CALLS = re.findall(r"^ *duomem-mlx (.+?)(?:\s+#.*)?$", results_page.page({}).replace("\\\n", " "), re.M)


@pytest.mark.parametrize("line", CALLS)
def test_every_command_of_the_page_exists_with_its_options(line: str) -> None:
    assert unknown(shlex.split(line)) == []


def test_a_ladder_of_several_seeds_has_its_spread_on_the_page() -> None:
    of_a_seed = {"won": 70, "games": 140, "success": 0.5, "wilson95": [0.4, 0.6], "steps_mean": 9.0}
    ladder = json.loads(json.dumps(KEPT["valid_seen"]))
    ladder["arms"]["adapter"] |= {
        "seeds": {"0": of_a_seed, "1": of_a_seed | {"won": 77, "success": 0.55}},
        "seeds_sd": 0.035,
        "seeds95": [0.3, 0.7],
        "effective_games": 150.0,
    }
    page = results_page.page({"valid_seen": ladder})
    assert "## Training seeds" in page
    assert "adapter, seed 1" in page
    assert "three training seeds" not in page.lower()


def test_of_own_memories_that_could_not_be_made_the_reason_stands_there() -> None:
    own = {"split": "train", "arms": {"base": {"won": 0, "games": 321}}}
    ladder = {**KEPT["valid_seen"], "arms": dict(KEPT["valid_seen"]["arms"])}
    ladder["arms"].pop("own-memories", None)
    page = results_page.page({"valid_seen": ladder, "own": own})
    assert "it won none of 321 train games" in page
    assert "The arms `own-memories`" not in page
