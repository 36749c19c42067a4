import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def make_results() -> Any:
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "scripts" / "make_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_the_kept_summarys(make_results: Any) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    summary = json.loads(make_results.KEPT.read_text(encoding="utf-8"))
    assert make_results.with_block(readme, summary) == readme


def test_the_kept_summarys_rates_follow_from_its_counts(make_results: Any) -> None:
    from duomem_mlx.evaluation.statistics import wilson

    for figures in json.loads(make_results.KEPT.read_text(encoding="utf-8"))["arms"].values():
        assert figures["success"] == figures["won"] / figures["games"]
        assert figures["wilson95"] == [round(bound, 4) for bound in wilson(figures["won"], figures["games"])]
        assert sum(games for _, games in figures["by_type"].values()) == figures["games"]


CALLS = re.findall(r"^duomem-mlx (.+?)(?:\s+#.*)?$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("line", CALLS)
def test_every_command_of_the_readme_exists_with_its_options(line: str) -> None:
    assert unknown(shlex.split(line)) == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("memories bild x --out y", ["bild"]),
        ("memories build x --adapter y", ["--adapter"]),
        ("doctor --out y", ["--out"]),
        ("sing", ["sing"]),
        ("evaluate --limit=3 -k 2", ["-k"]),
        ("run --number 2 -k 2", []),
    ],
)
def test_a_call_that_does_not_exist_is_found(line: str, wrong: list[str]) -> None:
    assert unknown(shlex.split(line)) == wrong


def unknown(words: list[str]) -> list[str]:
    """The words of a call that this program does not know: a command, or options that this very command has not."""
    from duomem_mlx.cli.main import COMMANDS, load

    name, *rest = words
    if name not in COMMANDS:
        return [name]
    command = load(name)
    if inner := getattr(command, "commands", None):
        if rest[0] not in inner:
            return [rest[0]]
        command = inner[rest[0]]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = (word.partition("=")[0] for word in rest if word.startswith("-"))
    return [option for option in given if option not in known | {"--help"}]
