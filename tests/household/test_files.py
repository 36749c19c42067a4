"""Which files are games, what they are called, and what is said of those that are none."""

import json
import os
import time
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemError, DuomemWarning, UsageError
from duomem_mlx.household import files
from tests.household.rooms import GRAMMAR, write_game

TASK = "pick_and_place_simple-Pen-None-Desk-301"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/json_2.1.1/train/pick_x/trial_1", "train/pick_x/trial_1"),
        ("/json_2.1.1/old/json_2.1.1/valid_seen/a/b", "valid_seen/a/b"),
        ("/somewhere/train/copies/valid_unseen/a/b", "valid_unseen/a/b"),
        ("/somewhere/mine/a/b", "a/b"),
        ("/b", "b"),
    ],
)
def test_a_game_is_called_the_same_on_every_machine(path: str, name: str) -> None:
    assert files.game_id(Path(path)) == name


def test_what_lies_in_a_split_is_told_apart(tmp_path: Path) -> None:
    split = tmp_path / files.DATA_FOLDER / "train"
    write_game(split / TASK / "good")
    write_game(split / TASK / "also_good")
    write_game(split / TASK / "lost", solvable=False)
    write_game(split / TASK / "stale", solvable=None)
    write_game(split / "pick_and_place_with_movable_recep-Pen-Mug-Desk-301" / "trial", kind="other")
    write_game(split / "pick_and_place_simple-AppleSliced-None-Desk-1" / "trial")
    (write_game(split / TASK / "missing") / files.GAME_FILE).unlink()
    torn = write_game(split / TASK / "torn") / files.GAME_FILE
    torn.write_bytes(torn.read_bytes()[:-20])
    (split / "notes").mkdir()

    found = files.survey(split)

    assert list(found.playable) == [f"train/{TASK}/also_good", f"train/{TASK}/good"]
    assert (found.missing, found.torn, found.stale, found.unsolvable, found.unsupported) == (1, 1, 1, 1, 2)
    assert files.find_games(tmp_path, "train") == found.playable


def test_the_key_solvable_is_found_where_it_is_not_the_last(tmp_path: Path) -> None:
    folder = write_game(tmp_path / TASK / "first", walkthrough=["look"] * 100)
    record = json.loads((folder / files.GAME_FILE).read_text())
    record = {"solvable": True, **{k: v for k, v in record.items() if k != "solvable"}}
    (folder / files.GAME_FILE).write_text(json.dumps(record))

    assert files.survey(tmp_path).playable


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / files.GAME_FILE).unlink(), "the download stopped halfway"),
        (lambda folder: (folder / files.GAME_FILE).write_bytes(b'{"pddl_domain": "(def'), "1 torn"),
        (lambda folder: (folder / files.GAME_FILE).write_text('{"grammar": ""}'), "alfworld-play-tw"),
        (lambda folder: (folder / files.TASK_FILE).unlink(), "no games that can be played"),
    ],
)
def test_a_split_without_playable_games_says_why(tmp_path: Path, change, words: str) -> None:
    change(write_game(tmp_path / files.DATA_FOLDER / "valid_seen" / TASK / "trial"))

    with pytest.raises(UsageError, match=words) as told:
        files.find_games(tmp_path, "valid_seen")
    assert "games fetch" in str(told.value)


def test_half_a_split_is_played_and_told(tmp_path: Path) -> None:
    split = tmp_path / files.DATA_FOLDER / "valid_seen"
    write_game(split / TASK / "good")
    write_game(split / TASK / "stale", solvable=None)
    (write_game(split / TASK / "missing") / files.GAME_FILE).unlink()

    with pytest.warns(DuomemWarning, match=r"1 of ALFWorld's 140 games \(1 without .*, 1 rewritten .*games fetch"):
        assert list(files.find_games(tmp_path, "valid_seen")) == [f"valid_seen/{TASK}/good"]


def test_a_missing_split_says_where_it_was_sought(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=str(tmp_path)):
        files.find_games(tmp_path, "train")


def test_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "a"))
    assert files.data_folder() == tmp_path / "a"
    assert files.data_folder(tmp_path / "b" / "json_2.1.1") == tmp_path / "b"
    monkeypatch.delenv("ALFWORLD_DATA")
    assert files.data_folder() == Path("~/.cache/alfworld").expanduser()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b'{"pddl_domain": "(define', "not whole JSON"),
        (b"\x00\xff\xfe" * 100, "not whole JSON"),
        (b"[" * 100_000, "not whole JSON"),
        (b"[]", "lacks"),
        (b'{"pddl_domain": 1, "grammar": "", "pddl_problem": ""}', "lacks"),
        (b'{"pddl_domain": "", "grammar": ""}', "lacks"),
        (b" " * (files.LARGEST_BYTES + 1), "larger than"),
    ],
)
def test_a_file_that_is_no_game_is_refused_at_once(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / files.GAME_FILE
    path.write_bytes(data)
    begin = time.process_time()

    with pytest.raises(DuomemError, match=words):
        files.read_game_file(path)
    assert time.process_time() - begin < 1


def test_no_file_and_no_file_but_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no game at"):
        files.read_game_file(tmp_path / "none")
    with pytest.raises(DuomemError, match="cannot be read"):
        files.read_game_file(tmp_path)
    with pytest.raises(DuomemError, match="cannot be read"):
        files.read_game_file(Path("a\x00b"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_place_of_a_game_keeps_nobody_waiting(tmp_path: Path) -> None:
    folder = write_game(tmp_path / TASK / "trial")
    (folder / files.GAME_FILE).unlink()
    os.mkfifo(folder / files.GAME_FILE)

    assert files.survey(tmp_path).missing == 1
    with pytest.raises(DuomemError, match="pipe"):
        files.read_game_file(folder / files.GAME_FILE)


def test_the_task_of_a_grammar() -> None:
    line = 'Your task is to: put a "big" mug, quickly.'
    file = files.GameFile("", files.with_task(GRAMMAR, line), "")

    assert file.task_line == line
    assert files.task_of_line(file.task_line) == 'put a "big" mug, quickly'
    assert files.without_task(file.grammar) == files.without_task(GRAMMAR)
    with pytest.raises(DuomemError, match="no plain text"):
        _ = file.plain_task_line
    for task in ("put\x1b[2J a mug in desk", "put a mug\nin desk", "put a \u202emug in desk", "mug" * 200_000):
        with pytest.raises(DuomemError, match="no sentence"):
            _ = files.GameFile("", files.with_task(GRAMMAR, f"Your task is to: {task}."), "").plain_task_line
    for grammar in ("grammar :: {}", GRAMMAR.replace("UNKNOWN GOAL", r"\q")):
        with pytest.raises(DuomemError, match="names no task"):
            _ = files.GameFile("", grammar, "").task_line
