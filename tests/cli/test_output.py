"""What is printed, for a person and for a shell."""

import shlex

import pytest
import typer
from rich.cells import cell_len

from duomem_mlx.cli import main, options, output


def test_a_call_is_what_a_shell_reads_back() -> None:
    text = output.call("games", "list", "my out", named={"--limit": 3, "--games-dir": None, "--env": "a;b"})
    assert shlex.split(text) == ["duomem-mlx", "games", "list", "my out", "--limit", "3", "--env", "a;b"]
    assert output.call("games", "list") == "duomem-mlx games list"


def test_what_two_commands_tell_each_other_of_both_know() -> None:
    for name in ("run", "evaluate"):
        known = {parameter.name for parameter in main.load(name).params}
        assert {*options.OF_A_GAME, "games", "k"} <= known


def test_given_are_the_words_of_the_call_and_no_defaults() -> None:
    found = {}
    app = typer.Typer()

    @app.command()
    def play(context: typer.Context, env: options.Env = "household", k: options.K = 4, seed: options.Seed = 0) -> None:
        found.update(options.given(context, "env", "k"))

    app(["-k", "4", "--seed", "2"], standalone_mode=False)
    assert found == {"--k": 4}


COLUMNS = ("game", "task", "n")
ROWS = [("g" * 90, "put some box on shelf", "3"), ("箱" * 50, "short", "12")]


def test_a_table_keeps_to_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.table(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert [cell_len(line) for line in lines[1:]] == [80, 80]
    assert lines[1].split("  ")[0].endswith("g…")
    assert lines[1].endswith("put some box on shelf   3")
    assert "…" in lines[2]


def test_a_table_in_a_pipe_is_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    output.table(COLUMNS, ROWS)
    printed = capsys.readouterr().out
    assert all(cell in printed for row in ROWS for cell in row)


def test_a_terminal_too_narrow_for_any_table_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "5")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.table(("n", "m"), [("1", "2")])
    output.table(COLUMNS, ROWS)
    assert max(cell_len(line) for line in capsys.readouterr().out.splitlines()) <= 12 + 2 + 12 + 2 + 2
