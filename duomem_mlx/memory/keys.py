"""What a memory is found by. The same kind of text stands on both sides: a bank's keys, and what is asked of it."""

import re
from collections.abc import Callable

from duomem_mlx.errors import UsageError

TASK, ROOM, FACTS = KINDS = ("task", "room", "facts")

Facts = Callable[[str, str], str]  # (task, opening) -> the facts that matter, one text

_NUMBER = re.compile(r"(?<=[^\W\d]) \d+\b(?!\.\d)")
_MAX_ROOM_CHARACTERS = 600  # an encoder reads some 256 tokens


def without_numbers(text: str) -> str:
    """A text on one line, without the numbers behind words: what is looked for is seldom the one of the same number.
    For keys alone; a script that is read keeps its numbers."""
    return _NUMBER.sub("", " ".join(text.split()))


def key_of(by: str, task: str, opening: str, facts: Facts | None = None) -> str:
    """The text that a memory of this game is found by, or that is asked for it.

    `task` is the bare sentence; `room` that and what the opening says of the place, in general terms; `facts` what
    `facts` finds in both. Raises UsageError for another kind, or for facts without a finder.
    """
    if by == TASK:
        return task
    if by == ROOM:
        said = without_numbers(opening.replace(task, ""))
        return f"{task}\n{said[:_MAX_ROOM_CHARACTERS]}"
    if by == FACTS:
        if facts is None:
            raise UsageError("Key facts need a model that finds them.", "Name one, or build the bank by task.")
        return facts(task, opening).strip() or task
    raise UsageError(f"There are no keys of the kind {by!r}.", f"Choose one of {', '.join(KINDS)}.")
