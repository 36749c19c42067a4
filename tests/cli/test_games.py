"""`duomem-mlx games` as it is called."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from duomem_mlx.cli.games import app
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.household.environment import household
from duomem_mlx.household.files import DATA_FOLDER, read_game_file
from duomem_mlx.household.generator import generate
from tests.household.rooms import know_these_rules, write_game

run = CliRunner().invoke
PEN = "pick_and_place_simple-Pen-None-Desk-301"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    know_these_rules(monkeypatch)
    write_game(tmp_path / DATA_FOLDER / "train" / PEN / "trial_1", seed=0)
    write_game(tmp_path / DATA_FOLDER / "train" / PEN / "stale", seed=6, solvable=None)
    return tmp_path


def test_the_splits_and_their_trouble(data: Path) -> None:
    told = run(app, ["list", "--games-dir", str(data)])

    assert told.exit_code == 0
    assert told.stdout.splitlines()[1].split()[:3] == ["train", "1", "3553"]
    assert "alfworld-play-tw" in told.stdout
    found = json.loads(run(app, ["list", "--games-dir", str(data), "--json"]).stdout)
    assert found["splits"]["train"]["by_type"] == {"pick_and_place_simple": 1}
    assert found["splits"]["train"]["stale"] == 1


def test_a_folder_without_games_says_what_to_do(tmp_path: Path) -> None:
    told = run(app, ["list", "--games-dir", str(tmp_path)])

    assert told.exit_code == 0
    assert told.stdout == ""
    assert "games fetch" in told.stderr


def test_the_games_of_a_spec(data: Path) -> None:
    told = run(app, ["list", "train", "--games-dir", str(data), "--json"])
    (game,) = json.loads(told.stdout)["games"]
    assert game == {
        "game": f"train/{PEN}/trial_1",
        "kind": "pick_and_place_simple",
        "task": generate(0).task_line.removeprefix("Your task is to: ").removesuffix("."),
    }
    rows = run(app, ["list", "embedded", "--limit", "6"]).stdout.splitlines()
    assert len({row.split()[1] for row in rows[1:]}) == 6
    assert isinstance(run(app, ["list", "nothing", "--games-dir", str(data)]).exception, UsageError)


def test_the_hint_names_a_game_that_can_be_opened(data: Path) -> None:
    for spec in ("train", str(data / DATA_FOLDER / "train"), "generated:4"):
        told = run(app, ["list", spec, "--games-dir", str(data)])
        program, games, *proposed = shlex.split(told.stderr.strip().rpartition("Next: ")[2])
        assert (program, games) == ("duomem-mlx", "games")
        played = run(app, proposed, input="\n")
        assert played.exit_code == 0
        assert "Your task is to" in played.stdout


@pytest.mark.usefixtures("textworld_installed")
def test_generated_files_hold_the_generated_games(tmp_path: Path) -> None:
    told = run(app, ["generate", "--out", str(tmp_path / "new"), "--seed", "30", "--count", "4"])

    assert told.exit_code == 0, told.output
    home = household(tmp_path)
    found = home.tasks(str(tmp_path / "new"))
    assert len(found) == 4
    for game_id in found:
        folder = home.locate(game_id)[1]
        seed = int(folder.name.removeprefix("trial_"))
        assert read_game_file(folder / "game.tw-pddl").problem == generate(seed).problem
        assert home.open(game_id).reset() == home.open(f"generated:{seed}").reset()
        assert home.kind(game_id) == generate(seed).kind


def test_generated_files_need_alfworlds_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    told = run(app, ["generate", "--out", str(tmp_path / "new")])
    assert isinstance(told.exception, UsageError)
    assert "duomem-mlx[alfworld]" in str(told.exception)
    assert not (tmp_path / "new").exists()


def test_a_game_is_played_from_a_pipe() -> None:
    from duomem_mlx.household.solution import solve

    plan = solve(household().open("generated:900000"))  # type: ignore[arg-type]
    told = run(app, ["play"], input="dance\n" + "\n".join(plan) + "\n")

    assert told.exit_code == 0, told.output
    assert "Nothing happens." in told.stdout
    assert told.stdout.endswith(f"Done in {len(plan) + 1} steps.\n")


def test_a_game_that_is_left_says_so() -> None:
    assert "Not done after 1 steps." in run(app, ["play", "generated:3"], input="look\n\ninventory\n").stderr
    assert "Not done after 0 steps." in run(app, ["play", "generated:3"], input="").stderr
    assert isinstance(run(app, ["play", "no/such"]).exception, UsageError)


def test_fetching_without_a_network_is_one_sentence(tmp_path: Path) -> None:
    told = run(app, ["fetch", "--games-dir", str(tmp_path), "--from", "http://127.0.0.1:1"])
    assert isinstance(told.exception, DuomemError)
    assert "goes on where it stopped" in str(told.exception)
