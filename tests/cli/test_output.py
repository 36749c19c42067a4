"""What is printed, for a person and for a shell."""

import shlex

import typer

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
