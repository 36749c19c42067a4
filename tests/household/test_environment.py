"""The household by name: what can be asked for, and what is said when it is not there."""

import importlib.util
import time
from pathlib import Path

import pytest

from duomem_mlx.environment import Environment, find_environment, ordered, stratified
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.household import files
from duomem_mlx.household.environment import Household, household
from duomem_mlx.household.files import DATA_FOLDER, KINDS
from tests.household.rooms import GRAMMAR, know_these_rules, without_textworld, write_game

OTHER_GRAMMAR = GRAMMAR.replace("UNKNOWN GOAL", "rest") + " // otherwise"
PEN = "pick_and_place_simple-Pen-None-Desk-301"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with two games of `train` and one of `valid_seen`."""
    know_these_rules(monkeypatch)
    write_game(tmp_path / DATA_FOLDER / "train" / PEN / "trial_1", seed=0)
    write_game(tmp_path / DATA_FOLDER / "train" / PEN / "trial_2", seed=6)
    write_game(tmp_path / DATA_FOLDER / "valid_seen" / "look_at_obj_in_light-Pen-None-DeskLamp-302" / "trial_3", seed=1)
    return tmp_path


def test_it_is_found_by_its_name() -> None:
    found = find_environment("household")
    assert isinstance(found, Environment)
    assert found.name == "household"
    assert "move (thing) to (place)" in found.instructions


def test_splits_and_their_games(data: Path) -> None:
    home = household(data)

    assert home.tasks("train") == [f"train/{PEN}/trial_1", f"train/{PEN}/trial_2"]
    game = home.open(home.tasks("train")[1])
    assert (game.id, game.split) == (f"train/{PEN}/trial_2", "train")
    assert game.reset().endswith(f"Your task is to: {game.task}.")
    assert home.kind(game.id) == "pick_and_place_simple"
    assert home.kind(home.tasks("valid_seen")[0]) == "look_at_obj_in_light"


def test_a_folder_and_a_file_do_as_well(data: Path) -> None:
    home = household(Path("/nowhere"))
    folder = data / DATA_FOLDER / "train"
    trial = folder / PEN / "trial_1"

    assert home.tasks(str(folder)) == household(data).tasks("train")
    assert home.tasks(str(trial)) == home.tasks(str(trial / "game.tw-pddl")) == [f"train/{PEN}/trial_1"]
    assert home.open(f"train/{PEN}/trial_1").reset()
    for path in (trial, trial / "game.tw-pddl"):
        game = Household(Path("/nowhere")).open(str(path))
        assert (game.id, game.split) == (f"train/{PEN}/trial_1", "train")


def test_games_outside_of_any_data_folder_have_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know_these_rules(monkeypatch)
    write_game(tmp_path / "mine" / "task" / "trial", seed=2)
    home = household(tmp_path / "nothing")

    assert home.tasks(str(tmp_path / "mine")) == ["task/trial"]
    assert home.kind("task/trial") == KINDS[2]
    game = home.open("task/trial")
    assert (game.id, game.split) == ("task/trial", "")


def test_a_game_that_is_rewritten_is_read_again(data: Path) -> None:
    home = household(data)
    first = home.open(f"train/{PEN}/trial_1").reset()
    other = (data / DATA_FOLDER / "train" / PEN / "trial_2" / "game.tw-pddl").read_bytes()
    (data / DATA_FOLDER / "train" / PEN / "trial_1" / "game.tw-pddl").write_bytes(other)

    assert home.open(f"train/{PEN}/trial_1").reset() != first


def test_generated_and_embedded_games() -> None:
    home = household(Path("/nowhere"))

    assert home.tasks("generated:7") == ["generated:7"]
    assert home.tasks("generated:7:3") == ["generated:7", "generated:8", "generated:9"]
    assert len(home.tasks("embedded")) == 12
    assert home.open("generated:7").split == "generated"
    assert [home.kind(task) for task in home.tasks("generated:0:6")] == list(KINDS)
    assert sorted(ordered(home, "embedded")) == sorted(home.tasks("embedded"))
    assert {home.kind(task) for task in ordered(home, "embedded", 6)} == set(KINDS)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("train", "no train games at /nowhere"),
        ("", "holds no games"),
        ("valid_sen", "no games 'valid_sen'"),
        ("./here", "no games './here'"),
        ("/nowhere/at/all", "no games '/nowhere/at/all'"),
        ("generated", "generated:SEED"),
        ("generated:", "generated:SEED"),
        ("generated:x", "generated:SEED"),
        ("generated:-1", "generated:SEED"),
        ("generated:1:2:3", "generated:SEED"),
        ("generated:1:999999999999", "generated:SEED"),
    ],
)
def test_what_is_not_there_is_told(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        household(Path("/nowhere")).tasks(spec)


@pytest.mark.parametrize("task", ["nothing", "train/x/y", "../../etc", "/etc/passwd", "generated:x", ""])
def test_a_game_that_is_not_there_is_told(task: str, data: Path) -> None:
    with pytest.raises(UsageError):
        household(data).open(task)


def test_an_unknown_engine() -> None:
    with pytest.raises(UsageError, match="fast, textworld"):
        household(engine="quick")


def test_rules_of_neither_generation_without_textworld(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = write_game(data / DATA_FOLDER / "train" / PEN / "odd", grammar=OTHER_GRAMMAR)
    without_textworld(monkeypatch)

    with pytest.raises(DuomemError, match=r"does not know the rules .*duomem-mlx\[alfworld\]"):
        household(data).open(str(trial))


def test_rules_of_neither_generation_go_to_textworld(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from duomem_mlx.household import textworld_engine

    trial = write_game(data / DATA_FOLDER / "train" / PEN / "odd", grammar=OTHER_GRAMMAR)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(textworld_engine, "TextWorldGame", lambda file, task_id, split: (file.task_line, task_id))

    with pytest.warns(UserWarning, match="TextWorld plays it"):
        game = household(data).open(str(trial))
    assert game == ("Your task is to: rest.", f"train/{PEN}/odd")


def test_another_domain_is_no_household_game(data: Path) -> None:
    trial = write_game(data / DATA_FOLDER / "train" / PEN / "odd", pddl_domain="(define (domain logistics))")
    with pytest.raises(DuomemError, match="no household game"):
        household(data).open(str(trial))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "not whole JSON"),
        (lambda text: text + " " * (files.LARGEST_BYTES + 1), "larger than"),
        (lambda text: "\x89PNG" + text, "not whole JSON"),
        (lambda text: "[" * 2_000_000, "not whole JSON"),
        (lambda text: text.replace("(:domain alfred)", "(:domain logistics)"), "domain alfred"),
        (lambda text: text.replace("(domain alfred)", "(domain logistics)"), "no household game"),
        (lambda text: text.replace("(domain alfred)", "(domain alfred) " + "(" * 900_000), "domain is torn"),
        (lambda text: text.replace("(:goal", "(:goal " + "(and " * 200_000), "longer|six"),
        (lambda text: text.replace("Drawer_bar", "Drawer" * 2000 + "_bar"), "longer|no name"),
        (lambda text: text.replace("Drawer_bar", "Dra\\u0007wer_bar"), "characters"),
        (lambda text: text.replace("task is to: ", "task is to: \\u001b[2J"), "no sentence"),
        (lambda text: text.replace("task is to: ", "task is to: " + "very " * 300_000), "no sentence"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::duomem_mlx.errors.DuomemWarning")
def test_a_hostile_file_is_one_short_sentence_within_a_second(data: Path, change, words: str) -> None:
    file = data / DATA_FOLDER / "train" / PEN / "trial_1" / "game.tw-pddl"
    whole = file.read_text()
    assert change(whole) != whole
    file.write_text(change(whole))
    begin = time.process_time()

    with pytest.raises(DuomemError, match=words) as told:
        household(data).open(f"train/{PEN}/trial_1")
    assert time.process_time() - begin < 1
    assert len(str(told.value)) < 300 + len(str(file))
    assert str(told.value).isprintable()


def test_the_missing_extra_is_one_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("textworld", "alfworld.agents.environment.alfred_tw_env"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"pip install 'duomem-mlx\[alfworld\]'"):
        household(data, engine="textworld").open(f"train/{PEN}/trial_1")


def test_old_verbs_and_refusals() -> None:
    home = household()
    assert home.normalise("put mug 1 in/on desk 2") == "move mug 1 to desk 2"
    assert home.normalise("put mug 1 on desk 2") == "move mug 1 to desk 2"
    assert home.normalise("move mug 1 to desk 2") == "move mug 1 to desk 2"
    assert home.normalise("put") == "put"
    assert home.refused(home.open("generated:0").step("dance"))
    assert not home.refused("You are not carrying anything.")


def test_the_teacher_and_its_words() -> None:
    home = household()
    teacher = home.teacher()
    game = home.open("generated:0")
    opening = game.reset()
    teacher.begin(game.task, opening)
    assert teacher.act()
    assert "Welcome" not in home.shorten(opening)


def test_the_order_is_a_fair_sample_for_any_prefix(alfworld_data: Path) -> None:
    home = household(alfworld_data)
    for split in ("train", "valid_seen"):
        if not (alfworld_data / DATA_FOLDER / split).is_dir():
            continue
        tasks = home.tasks(split)
        order = ordered(home, split)
        assert sorted(order) == sorted(tasks)
        assert order == stratified((task, home.kind(task)) for task in reversed(tasks))
        shares = {kind: sum(home.kind(task) == kind for task in tasks) / len(tasks) for kind in KINDS}
        for length in (6, 40, 100):
            for kind, share in shares.items():
                assert abs(sum(home.kind(task) == kind for task in order[:length]) - share * length) <= 1.5
