"""Write docs/cli.md from what `--help` of every command says. Usage: python scripts/make_cli_docs.py [--check]

With --check nothing is written; exit status 1 when the file is out of date.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

from duomem_mlx.cli.main import Commands, app, load

FILE = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """# The command line

What `duomem-mlx COMMAND --help` says of every command, written by `scripts/make_cli_docs.py`.
"""


def commands() -> Iterator[list[str]]:
    """The words that call each: the program itself, its commands, what a group holds."""
    yield []
    for name in Commands().commands:
        yield [name]
        for inner in getattr(load(name), "commands", {}):
            yield [name, inner]


def help_text(words: list[str]) -> str:
    return CliRunner().invoke(app, [*words, "--help"], prog_name="duomem-mlx", env={"COLUMNS": "100"}).stdout


def document() -> str:
    parts = [HEAD]
    for words in commands():
        title = " ".join(["duomem-mlx", *words])
        parts.append(f"\n{'###' if len(words) > 1 else '##'} {title}\n\n```text\n{help_text(words).strip()}\n```\n")
    return "".join(parts)


def main(check: bool) -> int:
    text = document()
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"{FILE} is out of date: run python scripts/make_cli_docs.py", file=sys.stderr)
        return 1
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text, encoding="utf-8")
    print(f"Wrote {FILE}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
