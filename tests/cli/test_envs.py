"""`envs`, and worlds that say how they want to be played."""

import json
from pathlib import Path
from typing import Any

from duomem_mlx.example_world import TaughtChests


class Mail(TaughtChests):
    side_effects = "sends mail"


def test_a_file_is_written_once_and_passes_the_check(call: Any, tmp_path: Path) -> None:
    status, _, err = call("envs", "new", "first_world.py")
    assert (status, "envs check first_world:TaughtChests" in err) == (0, True)
    before = (tmp_path / "first_world.py").read_bytes()
    assert call("envs", "new", "first_world.py")[0] == 2
    assert (tmp_path / "first_world.py").read_bytes() == before
    status, out, _ = call("envs", "check", "first_world:TaughtChests", "--json", "--limit", 1)
    assert (status, json.loads(out)["ok"]) == (0, True)
    status, out, err = call("envs", "new", "my-world.py")
    assert (status, "no name that Python can import" in err) == (2, True)


def test_what_is_installed_is_listed(call: Any) -> None:
    status, out, _ = call("envs", "list", "--json")
    assert status == 0
    names = {entry["name"]: entry for entry in json.loads(out)["environments"]}
    assert names["household"]["from"] == "duomem-mlx"
    assert "fault" not in names["household"]
    assert "household" in call("envs", "list")[1]


def test_a_world_with_side_effects_is_played_where_that_is_allowed_alone(call: Any) -> None:
    env = f"{__name__}:Mail"
    for words in (
        ["teach", "--env", env],
        ["evaluate", "--env", env, "--games", "test"],
        ["envs", "check", env],
        ["bench", "--env", env, "--games", "test"],
        ["fuse", "--env", env, "--games", "test", "--check", "2"],
    ):
        status, out, err = call(*words)
        assert (status, out) == (2, "")
        assert "says that playing it sends mail. Add --allow-side-effects" in err
    status, out, _ = call("envs", "check", env, "--allow-side-effects")
    assert status == 0
    assert "one game at a time, playing sends mail" in out
    status, _, err = call("teach", "--env", env, "--allow-side-effects", "--limit", 2, "--out", "taught")
    assert (status, "2 trajectories" in err) == (0, True)


def test_an_option_of_another_world_is_refused(call: Any) -> None:
    status, _, err = call("teach", "--env", f"{__name__}:Mail", "--engine", "textworld", "--allow-side-effects")
    assert (status, "does not take these options" in err) == (2, True)


def test_a_split_that_is_not_there_names_those_that_are(call: Any) -> None:
    status, _, err = call("teach", "--env", f"{__name__}:Mail", "--allow-side-effects", "--games", "attic")
    assert (status, "'attic' holds no games. chests has train, test." in err) == (2, True)
