import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


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
