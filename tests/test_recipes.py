"""scripts/compare_recipes.py: what each recipe changes, what is said of those that were followed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import compare_recipes
import make_results
import pytest
import results_page
from compare_recipes import RECIPES, Bench, hold_out, table, text_of, thoughtful, train_words
from thoughts import with_thoughts

from duomem_mlx.cli.main import status
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.household.environment import household
from duomem_mlx.household.files import DATA_FOLDER
from duomem_mlx.household.wording import NAME
from duomem_mlx.teachers.record import attempt
from duomem_mlx.trajectory import from_record, to_record

from .household.rooms import know_these_rules, write_game
from .report.folders import episode, results, step


@pytest.mark.parametrize("seed", range(12))
def test_a_thought_names_only_what_was_read_or_is_done_next(seed: int) -> None:
    world = household()
    played = attempt(world, f"generated:{seed}", world.teacher(), {"kind": "search"}, 30)
    thoughtful = with_thoughts(played)
    assert [one.action for one in thoughtful.steps] == [one.action for one in played.steps]
    read = played.opening
    for one in thoughtful.steps:
        assert one.thought
        assert "\n" not in one.thought
        known = set(re.findall(NAME, f"{read} {one.action}"))
        assert set(re.findall(NAME, one.thought)) <= known
        read += f" {one.observation}"


def test_what_is_kept_of_a_thoughtful_trajectory_can_be_read() -> None:
    world = household()
    played = attempt(world, "generated:1", world.teacher(), {"kind": "search"}, 30)
    found = from_record(json.loads(thoughtful(json.dumps(to_record(played)))), "here")
    assert all(one.thought for one in found.steps)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "teach").mkdir()
    world = household()
    played = [attempt(world, f"generated:{n}", world.teacher(), {"kind": "search"}, 30) for n in range(8)]
    lines = [json.dumps(to_record(one)) + "\n" for one in played]
    (tmp_path / "teach" / "trajectories.jsonl").write_text("".join(lines))
    return Bench(tmp_path, games=4, train_games=6, model=None)


def test_thoughts_differ_from_chat_in_the_thoughts_alone(bench: Bench) -> None:
    assert RECIPES["thoughts"].against == "chat"
    chat, thoughts = train_words(bench, "chat"), train_words(bench, "thoughts")
    assert [a for a, b in zip(chat, thoughts, strict=True) if a != b] == [chat[1], chat[-1]]
    kept = [[json.loads(line) for line in Path(words[1]).read_text().splitlines()] for words in (chat, thoughts)]
    assert len(kept[0]) == 6
    for record, other in zip(*kept, strict=True):
        assert all(one.pop("thought") for one in other["steps"])
        assert record == other


@pytest.fixture
def taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trajectories of three training games, of a floor plan each; the games' data folder is `data`."""
    know_these_rules(monkeypatch)
    for seed in range(3):
        folder = f"pick_and_place_simple-Pen-None-Desk-{301 + seed}"
        write_game(tmp_path / "data" / DATA_FOLDER / "train" / folder / "trial_1", seed=seed)
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "data"))
    world = household()
    played = [attempt(world, game, world.teacher(), {"kind": "search"}, 30) for game in world.tasks("train")]
    (tmp_path / "taught.jsonl").write_text("".join(json.dumps(to_record(one)) + "\n" for one in played))
    return tmp_path / "taught.jsonl"


def games_in(folder: Path) -> list[str]:
    return household(folder).tasks("train")


def test_floor_plans_are_held_out_whole_and_links_follow_the_data_folder(taught, tmp_path, monkeypatch) -> None:
    bench = Bench(tmp_path / "out", games=1, train_games=2, model=None)
    for place in ("data", "elsewhere"):
        if place == "elsewhere":
            (tmp_path / "data").rename(tmp_path / place)
            monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / place))
        hold_out(bench, taught)
        held, others = (games_in(bench.folder / part) for part in ("held-out", "others"))
        assert (len(held), len(others)) == (1, 2)
        lines = (bench.folder / "teach" / "trajectories.jsonl").read_text().splitlines()
        assert sorted(json.loads(line)["game"] for line in lines) == others


def test_a_folder_is_one_comparison(taught, tmp_path) -> None:
    hold_out(Bench(tmp_path / "out", games=1, train_games=2, model=None), taught)
    hold_out(Bench(tmp_path / "out", games=9, train_games=2, model=None), taught)
    for other in (Bench(tmp_path / "out", 1, 1, None), Bench(tmp_path / "out", 1, 2, "other")):
        with pytest.raises(UsageError, match=r"another run \(other (train_games|model)\). Choose another folder"):
            hold_out(other, taught)
    hold_out(Bench(tmp_path / "small", games=1, train_games=1, model=None), taught)
    taught.write_text("".join(taught.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(UsageError, match=r"other trajectories"):
        hold_out(Bench(tmp_path / "small", 1, 1, None), taught)


def test_fewer_games_than_are_to_be_trained_on_are_refused(taught, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"has 2 won games of train beside .*, not 3\. .*--train-games"):
        hold_out(Bench(tmp_path / "out", 1, 3, None), taught)
    assert not (tmp_path / "out").exists()


def test_trajectories_of_other_games_are_refused_and_nothing_is_written(bench, taught, tmp_path) -> None:
    generated = bench.folder / "teach" / "trajectories.jsonl"
    with pytest.raises(UsageError, match="has no won game of train"):
        hold_out(Bench(tmp_path / "out", 1, 2, None), generated)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["out"], 2, "--trajectories is needed"),
        (["out", "--trajectories", "nowhere"], 2, "nowhere"),
        (["out", "--trajectories", "torn"], 1, "torn"),
        (["taught.jsonl", "--trajectories", "taught.jsonl", "--train-games", "2"], 2, "Choose another folder"),
        (["out", "--trajectories", "taught.jsonl", "--games", "0"], 2, "'0' is not a whole number"),
        (["out", "--trajectories", "taught.jsonl", "--train-games", "-5"], 2, "'-5' is not a whole number"),
        (["out", "--trajectories", "taught.jsonl", "--train-games", "1"], 2, "'1' is not a whole number from 2 on"),
        (["out", "--trajectories", "taught.jsonl"], 2, "not 600"),
        (["out", "--trajectories", "taught.jsonl", "--only", "better"], 2, "better"),
    ],
)
def test_a_call_that_is_off_ends_in_a_sentence(words, code, told, taught, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("torn").write_text('{"game": ')
    monkeypatch.setattr(sys, "argv", ["compare_recipes.py", *words])
    assert status(compare_recipes.main) == code
    said = capsys.readouterr().err
    assert told in said
    assert "bug" not in said
    assert not Path("out").exists()


def test_a_recipe_without_the_one_it_changes_stands_alone(bench: Bench) -> None:
    results(bench.results("chat"), [episode("g/0", "adapter", True, [step("look", "You see a mug 1.")])])
    bench.adapter("chat").mkdir(parents=True)
    record = {"figures": {"steps": 150, "planned_steps": 150}, "data": {"tokens": 9000}}
    (bench.adapter("chat") / "duomem.json").write_text(json.dumps(record))
    found = table(bench)
    assert (found["chat"]["alone"], found["chat"]["p"]) == (None, None)
    assert "against" not in text_of(found).splitlines()[1]
    page = results_page.page({"recipes": {"games": 1, "train_games": 6, "recipes": found}})
    assert re.search(r"\n\| chat \| .* \| – \| – \| – \|\n", page)


@pytest.mark.parametrize(("code", "words"), [(2, "above say why"), (1, "goes on")])
def test_a_command_that_fails_is_named(code, words, monkeypatch) -> None:
    instead_of_ours(monkeypatch, f"raise SystemExit({code})")
    with pytest.raises(DuomemError, match=f"`duomem-mlx train` stopped with {code}.*{words}"):
        compare_recipes.run("train", "--out", "x")


def test_a_command_that_ctrl_c_stopped_stops_the_comparison(monkeypatch) -> None:
    instead_of_ours(monkeypatch, "raise SystemExit(130)")
    with pytest.raises(KeyboardInterrupt):
        compare_recipes.run("train", "--out", "x")


def test_ctrl_c_lets_a_command_save(tmp_path: Path, monkeypatch) -> None:
    saves = f"import os, signal, time; os.kill(os.getppid(), 2); time.sleep(1); open({str(tmp_path / 'saved')!r}, 'w')"
    instead_of_ours(monkeypatch, saves)
    with pytest.raises(KeyboardInterrupt):
        compare_recipes.run("train", "--out", "x")
    assert (tmp_path / "saved").exists()


def instead_of_ours(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Python runs `code` where a command of the program is called."""
    ours = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda call, **more: ours([call[0], "-c", code], **more))


def test_every_recipe_is_compared_with_one_that_came_before_it() -> None:
    before: set[str] = set()
    for name, recipe in RECIPES.items():
        assert recipe.against in before | ({""} if name == "plain" else set())
        before.add(name)


def test_recipes_stand_beside_the_one_they_change(bench: Bench, tmp_path: Path, monkeypatch) -> None:
    steps = [step("look", "You see a mug 1.")]
    for name, won in {"plain": "wwll", "chat": "wlll", "thoughts": "wwwl"}.items():
        results(bench.results(name), [episode(f"g/{n}", "adapter", w == "w", steps) for n, w in enumerate(won)])
        bench.adapter(name).mkdir(parents=True)
        record = {"figures": {"steps": 150, "planned_steps": 150}, "data": {"tokens": 9000}}
        (bench.adapter(name) / "duomem.json").write_text(json.dumps(record))
    found = table(bench)
    assert list(found) == ["plain", "chat", "thoughts"]
    assert [(one["alone"], one["other_alone"]) for one in found.values()] == [(None, None), (0, 1), (2, 0)]
    assert (found["thoughts"]["against"], found["thoughts"]["trained_steps"]) == ("chat", 150)
    assert "thoughts" in text_of(found)
    (tmp_path / "recipes.json").write_text(
        json.dumps({"format": 1, "games": 4, "train_games": 6, "model": None, "recipes": found}), encoding="utf-8"
    )
    page = results_page.page({"recipes": make_results.taken("recipes", [tmp_path], None, None)})
    assert re.search(r"\n\| thoughts \| .* \| 150 \| 9,000 \| 3/4 \| .* \| chat \| 2 : 0 \| ", page)
    assert re.search(r"\n\| plain \| .* \| – \| – \| – \|\n", page)


def test_a_plan_asks_only_for_what_is_left(bench: Bench, monkeypatch) -> None:
    asked: list[str] = []

    def answer(*words: object) -> str:
        asked.append(str(words[0]))
        return json.dumps({"hours": 0.5, "arms": {"base": {"seconds_per_game": 9.0}}})

    monkeypatch.setattr(compare_recipes, "run", answer)
    results(bench.results("half"), [episode("g/0", "adapter", True, [step("look", "You see a mug 1.")])])
    bench.adapter("half").mkdir(parents=True)
    (bench.adapter("half") / "duomem.json").write_text(json.dumps({"figures": {"steps": 9, "planned_steps": 9}}))
    found = compare_recipes.plan(bench, ["plain", "half", "untaught-memories"])
    assert found["recipes"]["half"] == {"train": 0, "play": 0}
    assert found["recipes"]["untaught-memories"]["train"] == 0
    assert asked.count("train") == 1
    assert asked.count("evaluate") == 1
    assert found["hours"] == pytest.approx(0.5 + 2 * 9 * 4 / 3600, abs=0.01)
