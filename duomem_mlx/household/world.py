"""A household as plain data: what never changes, what does, and what is to be reached.

Things, places and locations are numbers, in the order of their ids in the problem: the order in which the game
lists them. A thing can be held, a place holds things, and one or more places are reached from a location.
"""

from dataclasses import dataclass

Nouns = frozenset[int]
Pair = tuple[int, int]


@dataclass(slots=True)
class State:
    """What actions change. All but `contents` is replaced, never changed in place."""

    at: int  # the agent's location
    held: int | None
    contents: dict[int, tuple[int, ...]]  # place -> the things in or on it, ascending
    lying: frozenset[Pair]  # (thing, location)
    left: frozenset[Pair]  # (thing, place): taken from there and not put back
    opened: Nouns
    clean: Nouns
    hot: Nouns
    cool: Nouns
    toggled: Nouns
    sliced: Nouns

    def copy(self) -> "State":
        return State(
            self.at,
            self.held,
            dict(self.contents),
            self.lying,
            self.left,
            self.opened,
            self.clean,
            self.hot,
            self.cool,
            self.toggled,
            self.sliced,
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """One of ALFWorld's six goals: `count` of `things`, treated, in one of `places`; or one of them held where one
    of `lamps` is and has been used."""

    kind: str  # the task type
    things: Nouns
    places: Nouns
    lamps: Nouns
    treatment: str  # "clean", "heat", "cool" or ""
    count: int


@dataclass(frozen=True, slots=True)
class World:
    """What no action changes."""

    names: tuple[str, ...]  # by number: "mug 2", "desk 1", "loc 7"
    thing_named: dict[str, int]
    place_named: dict[str, int]
    location_of: dict[int, int]  # place -> location, places ascending
    places_at: dict[int, tuple[int, ...]]  # location -> places, ascending
    thing_type: dict[int, str]  # "mugtype"
    place_type: dict[int, str]
    fits: frozenset[tuple[str, str]]  # (place type, thing type)
    inner: dict[int, tuple[int, ...]]  # thing -> the things inside it, which the game never moves apart
    openable: Nouns
    pickupable: Nouns
    cleanable: Nouns
    heatable: Nouns
    coolable: Nouns
    toggleable: Nouns
    sliceable: Nouns
    vessels: Nouns  # things that can hold things
    goal: Goal
    start: State
