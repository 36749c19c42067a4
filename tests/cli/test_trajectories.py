import json
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.cli.main import app, status
from duomem_mlx.trajectory import Step, Trajectory, append_trajectory


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some" / "trajectories.jsonl"
    for game, kind, steps, won in (("a", "short", 1, True), ("b", "long", 4, True), ("b", "long", 8, False)):
        trajectory = Trajectory(
            environment="corridors",
            game=game,
            split="train",
            kind=kind,
            task=f"walk {steps} steps",
            opening="You are in a corridor.",
            steps=tuple(Step("walk", f"You are {n} in.", thought="On." if won else None) for n in range(steps)),
            won=won,
            score=float(won),
            end="won" if won else "steps",
            teacher={"kind": "search"},
            seconds=0.1,
        )
        append_trajectory(path, trajectory)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = status(lambda: app(["trajectories", *map(str, words)]))
    return code, *capsys.readouterr()


def test_list_has_a_line_for_each(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "list", file)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["no", "1", "2", "3"]
    assert "not won (steps)" in out.splitlines()[3]
    assert "trajectories show" in err
    listed = json.loads(run(capsys, "list", file.parent, "--json")[1])["trajectories"]
    assert [(t["number"], t["game"], t["won"], t["steps"]) for t in listed] == [
        (1, "a", True, 1),
        (2, "b", True, 4),
        (3, "b", False, 8),
    ]


def test_show_by_number_and_by_id(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", file, 2)
    assert out.index("You are in a corridor.") < out.index("(On.)") < out.index("> walk") < out.index("You are 3 in.")
    name = json.loads(run(capsys, "show", file, 2, "--json")[1])["id"]
    assert run(capsys, "show", file, name)[1] == out
    assert run(capsys, "show", file)[1] == run(capsys, "show", file, 1)[1] != out


def test_stats_by_kind_and_in_all(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "stats", file)
    assert [line.split()[0] for line in out.splitlines()] == ["kind", "long", "short", "all"]
    stats = json.loads(run(capsys, "stats", file, "--json")[1])
    assert (stats["attempts"], stats["games"], stats["won"], stats["steps_max"]) == (3, 2, 2, 8)
    assert stats["by_type"]["long"] == {
        "attempts": 2,
        "games": 1,
        "won": 1,
        "success": 0.5,
        "steps_mean": 6.0,
        "steps_median": 6.0,
        "steps_max": 8,
    }


@pytest.mark.parametrize("command", ["list", "show", "stats"])
def test_a_wrong_or_broken_file_is_told(command: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, command, file.parent / "nothing.jsonl")
    assert (code, err.count("\n")) == (2, 1)
    file.write_text(file.read_text()[:-10])
    code, _, err = run(capsys, command, file, *(["3"] if command == "show" else []))
    assert code == 1
    assert "Line 3 of" in err
    file.write_text("")
    code, _, err = run(capsys, command, file)
    assert code == 2
    assert "holds no trajectories" in err


def test_one_that_is_not_there_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "show", file, "7")
    assert code == 2
    assert "holds 3 trajectories and none is '7'" in err
