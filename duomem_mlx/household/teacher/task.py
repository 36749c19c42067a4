"""What a household task asks for, read from its sentence alone."""

import re
from dataclasses import dataclass

TREATMENTS = {"clean": "clean", "cleaned": "clean", "hot": "heat", "heat": "heat", "cool": "cool", "cold": "cool"}


@dataclass(frozen=True)
class Goal:
    """`count` things of class `thing`, treated if `treatment` says so, in one receptacle of class `place`; or,
    where `lamp` is named, one thing held beside that lamp switched on. Classes are words without a number."""

    thing: str
    count: int = 1
    treatment: str | None = None  # clean, heat or cool
    place: str | None = None
    lamp: str | None = None


_THING = r"(?P<thing>[a-z]+)"
_PLACE = r"(?:in|on|in/on|into|onto) (?:the |a |an |some )?(?P<place>[a-z]+)"
_LAMP = r"(?:the |a )?(?P<lamp>[a-z]*lamp)"
_SOME = r"(?:some|a|an|the|one)"
_TREATED = rf"(?P<treatment>{'|'.join(TREATMENTS)})"

_WORDINGS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:look at|examine) (?:{_SOME} )?{_THING} (?:under|with|in the light of) {_LAMP}",
        rf"(?P<two>put two) {_THING} {_PLACE}",
        rf"(?P<two>find two) {_THING} and put them {_PLACE}",
        rf"put {_SOME} {_TREATED} {_THING} {_PLACE}",
        rf"{_TREATED} {_SOME} {_THING} and put it {_PLACE}",
        rf"put {_SOME} {_THING} {_PLACE}",
    )
)


def read_task(sentence: str) -> Goal | None:
    """The goal, or None when the sentence is none of ALFWorld's wordings."""
    text = " ".join(sentence.lower().split()).rstrip(".")
    for wording in _WORDINGS:
        if found := wording.fullmatch(text):
            parts = found.groupdict()
            return Goal(
                thing=parts["thing"],
                count=2 if parts.get("two") else 1,
                treatment=TREATMENTS.get(parts.get("treatment") or ""),
                place=parts.get("place"),
                lamp=parts.get("lamp"),
            )
    return None
