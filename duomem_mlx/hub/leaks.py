"""What must not leave this machine: its paths and anybody's keys."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from duomem_mlx.errors import DuomemError

_KEYS = {
    "a token of the Hub's": r"\bhf_[A-Za-z0-9]{16,}",
    "a key of OpenAI's kind": r"\bsk-[A-Za-z0-9_-]{16,}",
    "a token of GitHub's": r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
    "a token of GitLab's": r"\bglpat-[\w-]{16,}",
    "a key of AWS's": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Google's": r"\bAIza[\w-]{35}",
    "a token of Slack's": r"\bxox[abeprs]-[\w-]{10,}",
    "a signed token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.",
    "a bearer token": r"(?i:\bbearer)\s+[\w.~+/-]{16,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
}
KEYS = {what: re.compile(pattern) for what, pattern in _KEYS.items()}
# A slash after a letter or a digit is a fraction, a game's id or an address's path.
PATHS = re.compile(
    r"(?<![\w/.~-])/(?!/)[\w.@+~-]+(?:/[\w.@+~-]+)+"  # two names at least
    r"|(?<![\w/.])~/[\w.][\w./@+~-]*|\bfile://[\w./@+~-]*|(?<!\w)[A-Za-z]:\\+\w[\w.\\-]*"
)
SECRET_NAMES = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$")  # of environment variables
SHORTEST = 8  # a shorter value of such a variable is a word that may stand anywhere
_ESCAPES = {"n": " ", "r": " ", "t": " ", "b": " ", "f": " "}
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")


@dataclass(frozen=True)
class Leak:
    """A place in a file that must not leave."""

    file: str
    line: int  # 1 is the first
    what: str  # for a person; never the key itself


def refuse_leaks(files: Iterable[tuple[str, str]], token: str | None = None) -> None:
    """Raise DuomemError for the first place in (name, text) that holds a path of this machine or a key. `token` is the
    Hub's; values of environment variables that are called keys or tokens are known too."""
    named = [value for name, value in os.environ.items() if SECRET_NAMES.search(name)]
    secrets = [value for value in (*named, token or "") if len(value) >= SHORTEST]
    for name, text in files:
        for leak in leaks(name, text, secrets):
            raise DuomemError(
                f"{leak.file}, line {leak.line}, holds {leak.what}; nothing was published.",
                "Take that out where it comes from, and publish again.",
            )


def leaks(name: str, text: str, secrets: Iterable[str] = ()) -> Iterator[Leak]:
    """Every line that holds what must not leave, JSON's escapes undone."""
    home = str(Path.home())
    for number, line in enumerate(text.splitlines(), 1):
        plain = _ESCAPED.sub(_meant, line)
        for seen in dict.fromkeys((line, plain)):
            if what := _fault(seen, home, secrets):
                yield Leak(name, number, what)
                break


def _fault(line: str, home: str, secrets: Iterable[str]) -> str | None:
    if any(secret in line for secret in secrets):
        return "a key that this machine knows"
    for what, pattern in KEYS.items():
        if pattern.search(line):
            return f"what looks like {what}"
    if home != "/" and re.search(rf"{re.escape(home)}(?![\w.-])", line):
        return f"the home folder of this machine ({home})"
    if found := PATHS.search(line):
        return f"a path of a machine ({found.group()[:80]})"
    return None


def _meant(escape: re.Match[str]) -> str:
    code, letter = escape.groups()
    return chr(int(code, 16)) if code else _ESCAPES.get(letter, letter)
