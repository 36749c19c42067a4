"""What one who plays a household game knows from the texts so far: a memory of the room, and no guesses."""

import re

from duomem_mlx.household.wording import NAME

REFUSED = "Nothing happens."

_THING = re.compile(rf"\ban? ({NAME})")
_ROOM = re.compile(r"Looking quickly around you, you see (?P<things>[^.]*)\.")
_ARRIVED = re.compile(rf"You arrive at (?:the )?(?P<r>{NAME})\.")
_FACING = re.compile(r"You are facing the (?P<places>[^.]*)\.")
_ON = re.compile(rf"On the (?P<r>{NAME}), you see (?P<things>[^.]*)\.")
_IN = re.compile(rf"The (?P<r>{NAME}) is open\. In it, you see (?P<things>[^.]*)\.")
_CLOSED = re.compile(rf"The (?P<r>{NAME}) is closed\.|You close the (?P<shut>{NAME})\.")
_TAKEN = re.compile(rf"You pick up the (?P<o>{NAME}) from the {NAME}\.")
_PUT = re.compile(rf"You (?:move|put) the (?P<o>{NAME}) (?:to|in/on|in|on) the (?P<r>{NAME})\.")
_TREATED = re.compile(rf"You (?P<treatment>clean|heat|cool) the (?P<o>{NAME}) using the {NAME}\.")
_CARRYING = re.compile(r"You are carrying: (?P<things>[^.]*)\.")
_NOTHING_CARRIED = "You are not carrying anything."
_UNDOES = {"heat": "cool", "cool": "heat"}

_GO = re.compile(rf"go to (?P<r>{NAME})")
_AT = re.compile(rf"(?:open|examine) (?P<r>{NAME})")
_TAKE = re.compile(rf"take (?P<o>{NAME}) from (?P<r>{NAME})")
_WITH = re.compile(rf"(?:move|clean|heat|cool) (?P<o>{NAME}) (?:to|with) (?P<r>{NAME})")
_USE = re.compile(rf"use (?P<o>{NAME})")


def class_of(name: str) -> str:
    """`mug` of `mug 3`."""
    return name.rpartition(" ")[0]


def number_of(name: str) -> int:
    """3 of `mug 3`."""
    return int(name.rpartition(" ")[2])


class Room:
    """Places with what was seen in them, what is held, and where one stands."""

    def __init__(self, opening: str) -> None:
        found = _ROOM.search(opening)
        self.places: list[str] = _THING.findall(found["things"]) if found else []
        self.inside: dict[str, set[str]] = {}  # a place that was never looked into is not in it
        self.open: dict[str, bool] = {}  # only places that can be closed
        self.here: set[str] = set()  # the places at which one stands; some stand together
        self.held: str | None = None
        self.treated: dict[str, set[str]] = {}
        self.refused: set[str] = set()  # actions that did nothing although all they need seemed to be there

    def read(self, action: str, observation: str) -> None:
        """Take in what `action` led to."""
        if observation.strip() == REFUSED:
            self._read_refusal(action)
            return
        if found := _ARRIVED.search(observation):
            self.here = {found["r"]}
        if found := _FACING.search(observation):
            self.here = set(re.findall(NAME, found["places"]))
        for found in (*_ON.finditer(observation), *_IN.finditer(observation)):
            self.inside[found["r"]] = set(_THING.findall(found["things"]))
        for found in _IN.finditer(observation):
            self.open[found["r"]] = True
        for found in _CLOSED.finditer(observation):
            self.open[found["r"] or found["shut"]] = False
        if found := _TAKEN.search(observation):
            self.held = found["o"]
            for things in self.inside.values():  # some things are listed at two places that touch
                things.discard(found["o"])
        if found := _PUT.search(observation):
            self.held = None
            self.inside.setdefault(found["r"], set()).add(found["o"])
        if found := _TREATED.search(observation):
            states = self.treated.setdefault(found["o"], set())
            states.discard(_UNDOES.get(found["treatment"], ""))
            states.add(found["treatment"])
        if found := _CARRYING.search(observation):
            self.held = next(iter(_THING.findall(found["things"])), None)
        if _NOTHING_CARRIED in observation:
            self.held = None

    def things(self, kind: str) -> list[tuple[str, str]]:
        """(thing, place) for all things of a class that are known to lie somewhere, numbers rising."""
        return sorted(
            (
                (thing, place)
                for place, things in self.inside.items()
                for thing in things
                if class_of(thing) == kind and thing != self.held
            ),
            key=lambda pair: (number_of(pair[0]), class_of(pair[1]), number_of(pair[1])),
        )

    def shut(self, place: str) -> bool:
        """Whether a place is known to be closed."""
        return self.open.get(place) is False

    def _read_refusal(self, action: str) -> None:
        """Learn from an action that did nothing. One that could not work as things stand teaches nothing."""
        if found := _GO.fullmatch(action):
            if found["r"] in self.places:
                self.here.add(found["r"])  # one cannot go to where one stands
        elif (found := _AT.fullmatch(action)) and found["r"] in self.here:
            self.refused.add(action)
        elif found := _TAKE.fullmatch(action):
            if self.held is None and self._usable(found["r"]):
                self.refused.add(action)
                self.inside.get(found["r"], set()).discard(found["o"])
        elif found := _WITH.fullmatch(action):
            moved = action.startswith("move")
            if self.held == found["o"] and (self._usable(found["r"]) if moved else found["r"] in self.here):
                self.refused.add(action)
        elif (found := _USE.fullmatch(action)) and any(found["o"] in self.inside.get(r, ()) for r in self.here):
            self.refused.add(action)

    def _usable(self, place: str) -> bool:
        return place in self.here and not self.shut(place) and (place in self.inside)
