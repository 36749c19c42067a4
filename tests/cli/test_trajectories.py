import json
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.cli.main import app, status
from duomem_mlx.trajectory import Step, Trajectory, append_trajectory, read_trajectories

from ..student.test_models import save_base
from ..tools.made import record as tool_record


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


WALKED = "You are in a corridor. Your task is to: walk {0} steps.\n" + "> think: on\nOK.\n> walk\nYou are in.\n" * 3


def test_import_plays_again_and_says_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = tmp_path / "theirs.txt"
    theirs.write_text(WALKED.format(3) + WALKED.format(5))
    words = ("import", theirs, "--env", "tests.teachers.corridor:Corridors", "--games", "train", "--out", "taken")
    code, out, err = run(capsys, *words)
    assert code == 0, err
    assert out.splitlines() == [
        "1 of 2 trajectories kept, 1 of them replayed.",
        "     1  does not win when it is played again",
    ]
    assert "trajectories stats taken" in err
    before = Path("taken/trajectories.jsonl").read_text()
    told = json.loads(run(capsys, *words, "--json")[1])
    assert (told["came_in"], told["kept"], told["replayed"]) == (2, 1, 1)
    assert told["left_out"] == {"does not win when it is played again": 1}
    assert [line["steps"] for line in map(json.loads, before.splitlines())] == [
        [{"action": "walk", "observation": f"You are {n} steps in.", "thought": "on"} for n in (1, 2, 3)]
    ]
    (listed,) = json.loads(run(capsys, "list", "taken", "--json")[1])["trajectories"]
    assert int(listed["game"].removeprefix("train/")) % 7 == 2  # the corridors of three steps
    assert (listed["won"], listed["teacher"]["format"]) == (True, "react")


def test_an_import_that_keeps_nothing_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = tmp_path / "theirs.txt"
    theirs.write_text(WALKED.format(3))
    words = ("import", theirs, "--env", "tests.teachers.corridor:Corridors", "--out", "taken")
    code, _, err = run(capsys, *words)
    assert code == 1
    assert "None of 1 trajectories was kept (1 times: its game is not at hand)" in err
    assert "--games" in err
    assert not Path("taken").exists()
    assert run(capsys, *words, "--unchecked")[0] == 0
    assert run(capsys, *words, "--format", "poem")[0] == 2


def test_our_own_trajectories_need_no_import(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "import", file)
    assert status == 1
    assert "needs no import" in err
    assert "Give the file to `duomem-mlx train`" in err


def test_show_as_a_student_is_trained_on_it(file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    (base / "model.safetensors").unlink()  # the tokenizer is enough
    words = ("show", file, 2, "--trained", "--env", "tests.teachers.corridor:Corridors", "--model", base)
    code, out, err = run(capsys, *words, "--prompt-style", "compact-1")
    assert code == 0, err
    head, *text = out.splitlines()
    assert head.endswith(" trained")
    assert text[0] == "You are in a corridor."
    assert "\n".join(text).count("⟦ walk\n⟧") == 4
    row = json.loads(run(capsys, *words, "--json")[1])["rows"][0]
    assert "".join(said for said, trained in row["spans"] if trained).count("Thought: On.\nAction: walk") == 4
    assert any("Say walk." in said for said, trained in row["spans"] if not trained)
    code, _, err = run(capsys, "show", file, 2, "--trained", "--model", base)
    assert code == 2
    assert "This trajectory is of corridors" in err


def test_runs_with_tools_are_taken_on_the_users_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text("".join(json.dumps(tool_record(city)) + "\n" for city in ("Oslo", "Rome")))
    call = [
        "trajectories",
        "import",
        str(file),
        "--env",
        "duomem_mlx.tools.world:ToolRuns",
        "--out",
        str(tmp_path / "o"),
    ]
    assert status(lambda: app(call)) == 1
    assert "does not say whether it was won" in capsys.readouterr().err
    assert status(lambda: app([*call, "--won", "Rome-run", "--json"])) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 2
    assert [one.won for one in read_trajectories(tmp_path / "o")] == [False, True]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--env", "duomem_mlx.tools.world:ToolRuns", "--unchecked"], "not played again"),
        (["--env", "duomem_mlx.tools.world:ToolRuns", "--games", "train"], "not played again"),
        (["--won", "all"], "--won is for runs with tools"),
    ],
)
def test_a_verdict_is_for_runs_with_tools_and_nothing_else_is(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text(json.dumps(tool_record()))
    assert status(lambda: app(["trajectories", "import", str(file), *words])) == 2
    assert said in capsys.readouterr().err
