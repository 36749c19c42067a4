"""The commands that the household's grammar makes of names seen so far: none of them need be possible."""

import re
from collections.abc import Iterable, Sequence

from duomem_mlx.household.wording import NAME

_ROOM = re.compile(r"Looking quickly around you, you see ([^.]*)\.")
_TREATED_AT = (("clean", "sinkbasin"), ("heat", "microwave"), ("cool", "fridge"))


def commands(texts: Iterable[str]) -> list[str]:
    """Sorted commands over the names in what was told so far, the opening first: what the opening lists are places,
    all else that has a number is a thing."""
    places: dict[str, None] = {}
    things: dict[str, None] = {}
    for text in texts:
        for room in _ROOM.findall(text):
            places.update(dict.fromkeys(re.findall(NAME, room)))
        things.update(dict.fromkeys(name for name in re.findall(NAME, text) if name not in places))
    return sorted({*_bare(), *_about(list(places), list(things))})


def _bare() -> Sequence[str]:
    return ("look", "inventory")


def _about(places: Sequence[str], things: Sequence[str]) -> Iterable[str]:
    for place in places:
        yield from (f"{verb} {place}" for verb in ("go to", "open", "close", "examine"))
        for thing in things:
            yield f"take {thing} from {place}"
            yield f"move {thing} to {place}"
            yield f"put {thing} in/on {place}"  # as games before ALFWorld 0.4 have it
            yield from (f"{verb} {thing} with {place}" for verb, kind in _TREATED_AT if place.startswith(f"{kind} "))
    for thing in things:
        yield from (f"{verb} {thing}" for verb in ("use", "examine"))
