"""Why a memory was found: the words it shares with what was asked, and what each word of the question did for it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duomem_mlx.memory.ranking import Hit

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Bank

WORD = re.compile(r"\w+")
MOST_WORDS = 64  # of a question that are left out in turn


@dataclass(frozen=True)
class Reason:
    """A memory that was found, and why."""

    hit: Hit
    matched: tuple[str, ...]  # words of the question that its key has too, in the question's order
    weights: tuple[tuple[str, float], ...] = ()  # word of the question -> how far the cosine falls without it


def matched(question: str, key: str) -> tuple[str, ...]:
    """The words that both have, whatever their case, in the question's order."""
    theirs = {word.lower() for word in WORD.findall(key)}
    return tuple(word for word in dict.fromkeys(WORD.findall(question)) if word.lower() in theirs)


def reasons(bank: "Bank", question: str, hits: Sequence[Hit], weigh: bool = False) -> list[Reason]:
    """Of the memories that `bank` found for `question`. With `weigh` each of its words is left out in turn and the
    bank's own encoder asked again, which also shows what no common word explains: a cup that was found for a mug."""
    found = [Reason(hit, matched(question, hit.memory.key)) for hit in hits]
    words = list(WORD.finditer(question))[:MOST_WORDS]
    if not (weigh and hits and len(words) > 1):
        return found
    without = [" ".join((question[: word.start()] + question[word.end() :]).split()) for word in words]
    questions = bank.encode([question, *without])  # float32 [1 + words, D], unit rows
    keys = bank.encode([hit.memory.key for hit in hits])  # float32 [hits, D]
    cosines = questions @ keys.T
    return [
        Reason(
            one.hit,
            one.matched,
            tuple((word[0], float(cosines[0, at] - cosines[row, at])) for row, word in enumerate(words, 1)),
        )
        for at, one in enumerate(found)
    ]
