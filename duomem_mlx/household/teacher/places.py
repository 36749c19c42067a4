"""Where things of a class are likely to be: counts of what was seen while training games were played."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

# Before anything was seen, a place is taken to hold a thing of a class with this chance, as sure as this many looks.
PRIOR, PRIOR_LOOKS = 0.02, 5.0


@dataclass(frozen=True)
class Places:
    """`closed[place]`: (times found closed, times visited). `held[thing][place]`: (times the thing was in a place of
    that class, places of that class looked into), over rooms in which the thing is somewhere."""

    closed: dict[str, tuple[int, int]]
    held: dict[str, dict[str, tuple[int, int]]]

    def chance(self, thing: str, place: str) -> float:
        """P(at least one of class `thing` in one place of class `place`), given that the room has one."""
        times, looks = self.held.get(thing, {}).get(place, (0, 0))
        return (times + PRIOR * PRIOR_LOOKS) / (looks + PRIOR_LOOKS)

    def chance_closed(self, place: str) -> float:
        times, visits = self.closed.get(place, (0, 0))
        return times / visits if visits else 0.0

    def accepts(self, place: str, thing: str) -> bool:
        """Whether a thing of that class was ever seen in such a place."""
        return self.held.get(thing, {}).get(place, (0, 0))[0] > 0


@cache
def observed_places() -> Places:
    """The counts that come with the package (`places.json`; made by scripts/count_places.py)."""
    text = resources.files(__package__).joinpath("places.json").read_text(encoding="utf-8")
    return from_json(json.loads(text))


def from_json(record: dict[str, Any]) -> Places:
    return Places(
        closed={place: (pair[0], pair[1]) for place, pair in record["closed"].items()},
        held={
            thing: {place: (pair[0], pair[1]) for place, pair in places.items()}
            for thing, places in record["held"].items()
        },
    )
