"""A text too long to be read whole, cut from its middle: what opens it and what ends it say most."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from duomem_mlx.prompt import Shorten
from duomem_mlx.student.untrusted import plain

MOST_TOKENS = 1024  # of an observation; a usual context holds eight
CUT = "\n[...]\n"
_WIDEST_TOKEN = 16  # characters; a text is not tokenized whole that is longer than so many tokens could be


def fitted(text: str, room: int, count: Callable[[str], int]) -> str:
    """The text, or as much of its two ends that `count` of it is at most `room`; "" where nothing fits."""
    while text and (tokens := count(text)) > room:
        text = _ends(text, len(text) * room // tokens)  # less in every round, whatever else is counted
    return text


def _ends(text: str, characters: int) -> str:
    keep = characters // 2 - len(CUT)
    return f"{text[:keep]}{CUT}{text[-keep:]}" if keep > 0 else ""


@dataclass(frozen=True)
class Fit:
    """What a student reads of an observation: in the environment's short wording, at most `most` tokens of it."""

    tokenizer: Any
    shorten: Shorten
    most: int = MOST_TOKENS

    def __call__(self, text: str) -> str:
        return self._cut(self.shorten(text))

    def cuts(self, text: str) -> bool:
        """Whether something of it is left out."""
        short = self.shorten(text)
        return self._cut(short) != short

    def _cut(self, text: str) -> str:
        if len(text.encode()) <= self.most:  # a token is a byte at least
            return text
        if len(text) > self.most * _WIDEST_TOKEN:
            text = _ends(text, self.most * _WIDEST_TOKEN)
        return fitted(text, self.most, lambda part: len(plain(self.tokenizer, part)))
