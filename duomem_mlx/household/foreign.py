"""Games with other rules than the two known: whether one is whole enough to be given to TextWorld.

TextWorld takes seconds to find that it is not, and its translator was not made for files from anywhere.
"""

import json
import re

from duomem_mlx.household.files import GameFile
from duomem_mlx.household.reader import LARGEST

DEEPEST = 50  # brackets; ALFWorld's domain has 9

_COMMENT = re.compile(r";[^\n]*+")
_DOMAIN = re.compile(r"\s*+\(\s*+define\s*+\(\s*+domain\s++alfred\s*+\)", re.IGNORECASE)
_PROBLEM = re.compile(
    r"\s*+\(\s*+define\s*+\(\s*+problem\s++[^\s()]++\s*+\)\s*+\(\s*+:domain\s++alfred\s*+\)", re.IGNORECASE
)
_TABLES = re.compile(r'grammar\s*+::\s*+"""(.*?)"""', re.DOTALL)
_BEYOND_TEXT = re.compile(r"[^\n\r\t -~]")


def fault_of(file: GameFile) -> str | None:
    """What shows that a game cannot be played by anything, as the end of a sentence; None when nothing does."""
    texts = {"domain": file.domain, "problem": file.problem, "grammar": file.grammar}
    for part, text in texts.items():
        if len(text) > LARGEST:
            return f"its {part} is longer than {LARGEST} characters"
        if _BEYOND_TEXT.search(text):
            return f"its {part} holds characters that no ALFWorld game has"
    if not _DOMAIN.match(domain := _COMMENT.sub("", file.domain)):
        return "it is no household game"
    problem = _COMMENT.sub("", file.problem)
    if not _PROBLEM.match(problem):
        return "its problem is none of the domain alfred"
    for part, text in (("domain", domain), ("problem", problem)):
        if not _is_one_bracket(text):
            return f"its {part} is torn"
    return None if _has_tables(file.grammar) else "its grammar is torn"


def _is_one_bracket(text: str) -> bool:
    """Whether all of the text stands in one pair of brackets, none of them too deep."""
    depth = 0
    brackets = re.findall(r"[()]", text)
    for place, bracket in enumerate(brackets, 1):
        depth += 1 if bracket == "(" else -1
        if depth > DEEPEST or (depth < 1 and place < len(brackets)):
            return False
    return depth == 0 and text.rstrip().endswith(")")


def _has_tables(grammar: str) -> bool:
    """Whether the grammar holds tables of texts, all of them whole."""
    tables = _TABLES.findall(grammar)
    try:
        return bool(tables) and all(isinstance(json.loads(table, strict=False), dict) for table in tables)
    except (ValueError, RecursionError):
        return False
