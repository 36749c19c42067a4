"""New games: a furnished room, things where people leave them, and a task that can be done in it.

The problem is written in the form ALFWorld's have, so that both engines play it. All chance comes from the seed.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from duomem_mlx.household import furniture
from duomem_mlx.household.files import GAME_FILE, KINDS, TASK_FILE, with_task
from duomem_mlx.household.furniture import BATHROOM, BEDROOM, KITCHEN, LIVING_ROOM, ROOMS, Belonging, Room
from duomem_mlx.household.reader import goal_text
from duomem_mlx.paths import write_text

FORMAT = 1  # goes into the seed: another way of drawing is another set of games

_SENTENCES = {
    "pick_and_place_simple": ("put a {thing} in {place}", "put some {thing} on {place}"),
    "look_at_obj_in_light": ("look at {thing} under the {place}", "examine the {thing} with the {place}"),
    "pick_clean_then_place_in_recep": ("put a clean {thing} in {place}", "clean some {thing} and put it in {place}"),
    "pick_heat_then_place_in_recep": ("put a hot {thing} in {place}", "heat some {thing} and put it in {place}"),
    "pick_cool_then_place_in_recep": ("put a cool {thing} in {place}", "cool some {thing} and put it in {place}"),
    "pick_two_obj_and_place": ("put two {thing} in {place}", "find two {thing} and put them in {place}"),
}
_ROOMS_FOR = {
    "pick_and_place_simple": ROOMS,
    "look_at_obj_in_light": (BEDROOM, BEDROOM, LIVING_ROOM),
    "pick_clean_then_place_in_recep": (KITCHEN, KITCHEN, KITCHEN, BATHROOM),
    "pick_heat_then_place_in_recep": (KITCHEN,),
    "pick_cool_then_place_in_recep": (KITCHEN,),
    "pick_two_obj_and_place": ROOMS,
}
_TREATABLE = {
    "pick_clean_then_place_in_recep": furniture.CLEANABLE,
    "pick_heat_then_place_in_recep": furniture.HEATABLE,
    "pick_cool_then_place_in_recep": furniture.COOLABLE,
}
_NO_TARGET = frozenset({"SinkBasin", "BathtubBasin", "HandTowelHolder", "TowelHolder", "LaundryHamper"})

Item = TypeVar("Item")


@dataclass(frozen=True)
class Generated:
    """A game made from a seed."""

    seed: int
    kind: str  # the task type
    room: str
    thing: str  # what the task is about, e.g. "Mug"
    place: str  # where it goes, or the lamp
    task_line: str  # "Your task is to: …."
    problem: str

    @property
    def folder(self) -> str:
        """The task's folder as ALFWorld would name it."""
        target = f"{self.thing}-None-DeskLamp" if self.place == "DeskLamp" else f"{self.thing}-None-{self.place}"
        return f"{self.kind}-{target}-{self.seed}"

    def record(self) -> dict[str, Any]:
        """What ALFWorld reads in `traj_data.json`."""
        lamp = self.place == "DeskLamp"
        return {
            "task_id": f"generated_{self.seed}",
            "task_type": self.kind,
            "pddl_params": {
                "mrecep_target": "",
                "object_sliced": False,
                "object_target": self.thing,
                "parent_target": "" if lamp else self.place,
                "toggle_target": "DeskLamp" if lamp else "",
            },
            "scene": {"floor_plan": f"Generated{self.seed}", "scene_num": self.seed},
            "turk_annotations": {"anns": []},
        }


def kind_of_seed(seed: int) -> str:
    """The task type of a seed's game: the six in turn."""
    return KINDS[seed % len(KINDS)]


def generate(seed: int) -> Generated:
    """The game of a seed: the same bytes on every machine."""
    kind = kind_of_seed(seed)
    chance = _Chance(f"duomem household {FORMAT} {seed}")
    room = chance.one_of(_ROOMS_FOR[kind])
    draft = _Draft(chance)
    pairs: list[tuple[str, str]] = []
    while not pairs:  # a room may lack a stand for the lamp
        draft = _furnished(room, chance)
        pairs = _tasks(draft, room, kind)
    thing, place = chance.one_of(pairs)
    _fill(draft, room, kind, thing, place)
    sentence = chance.one_of(_SENTENCES[kind]).format(thing=thing.lower(), place=place.lower())
    return Generated(
        seed=seed,
        kind=kind,
        room=room.name,
        thing=thing,
        place=place,
        task_line=f"Your task is to: {sentence}.",
        problem=draft.problem(f"generated_{seed}", goal_text(kind, f"{thing}Type", f"{place}Type")),
    )


def write_files(game: Generated, rules: tuple[str, str], out: Path) -> Path:
    """Lay a game out below `out` as ALFWorld would; its folder. `rules`: ALFWorld's domain and grammar.

    Raises DuomemError when the disk refuses.
    """
    domain, grammar = rules
    record = {
        "pddl_domain": domain,
        "grammar": with_task(grammar, game.task_line),
        "pddl_problem": game.problem,
        "solvable": True,
    }
    folder = out / game.folder / f"trial_{game.seed}"
    write_text(folder / TASK_FILE, json.dumps(game.record()))
    write_text(folder / GAME_FILE, json.dumps(record))
    return folder


class _Chance:
    """Draws that are the same on every machine and in every version of Python."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random  # a string is seeded through SHA-512

    def happens(self, chance: float) -> bool:
        return self._random() < chance

    def between(self, fewest: int, most: int) -> int:
        return fewest + int(self._random() * (most - fewest + 1))

    def one_of(self, items: Sequence[Item]) -> Item:
        return items[self.between(0, len(items) - 1)]


@dataclass
class _Draft:
    """A room in the making. Ids look like ALFWorld's: a kind of thing and where it stands, in metres."""

    chance: _Chance
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # kind -> ids
    location_of: dict[str, str] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)  # id -> kind
    inside: dict[str, str] = field(default_factory=dict)  # thing -> place
    openable: list[str] = field(default_factory=list)

    def add_place(self, kind: str) -> None:
        owner = kind.removesuffix("Basin")
        id_ = self._id(owner, {*self.location_of}) + (f"_bar_{kind}" if kind != owner else "")
        if self.places[kind] and kind in furniture.SIDE_BY_SIDE and self.chance.happens(0.3):
            self.location_of[id_] = self.location_of[self.places[kind][-1]]
        else:
            self.location_of[id_] = self._location()
        self.places[kind].append(id_)
        always = kind in furniture.OPENABLE and kind not in furniture.NOT_ALWAYS_OPENABLE
        if always or (kind in furniture.OPENABLE and self.chance.happens(0.85)):
            self.openable.append(id_)

    def add_thing(self, kind: str, place_kind: str) -> None:
        id_ = self._id(kind, {*self.things})
        self.things[id_] = kind
        self.inside[id_] = self.chance.one_of(self.places[place_kind])

    def _id(self, kind: str, taken: Iterable[str]) -> str:
        while True:
            metres = [self._coordinate(low, high) for low, high in ((-400, 400), (5, 210), (-400, 400))]
            id_ = "_bar_".join((kind, *metres))
            if not any(other.startswith(id_) for other in taken):
                return id_

    def _coordinate(self, low: int, high: int) -> str:
        centimetres = self.chance.between(low, high)
        sign = "minus" if centimetres < 0 else "plus"
        return f"_{sign}_{abs(centimetres) // 100:02}_dot_{abs(centimetres) % 100:02}"

    def _location(self) -> str:
        """A spot on the floor's quarter-metre grid, a direction, and an angle of view."""
        taken = {*self.location_of.values()}
        while True:
            steps = [self.chance.between(-14, 14) for _ in range(2)]
            x, z = (f"_minus_{-step}" if step < 0 else str(step) for step in steps)
            facing, view = self.chance.between(0, 3), self.chance.one_of((0, 30, 45, 60))
            id_ = f"loc_bar_{x}_bar_{z}_bar_{facing}_bar_{view}"
            if id_ not in taken:
                return id_

    def problem(self, name: str, goal: str) -> str:
        """The PDDL problem, its objects and facts each on a line and in order."""
        start = self._location()
        place_kinds = {id_: kind for kind, ids in self.places.items() for id_ in ids}
        locations = sorted({*self.location_of.values(), start})
        objects = [("agent1", "agent"), *_declared_types()]
        objects += [(id_, "object") for id_ in sorted(self.things)]
        objects += [(id_, "receptacle") for id_ in sorted(place_kinds)]
        objects += [(id_, "location") for id_ in locations]

        facts: list[tuple[str, ...]] = []
        facts += [("receptacleType", id_, f"{kind}Type") for id_, kind in sorted(place_kinds.items())]
        facts += [("objectType", id_, f"{kind}Type") for id_, kind in sorted(self.things.items())]
        for kind in sorted(set(place_kinds.values())):
            facts += [("canContain", f"{kind}Type", f"{thing}Type") for thing in sorted(furniture.FITS[kind])]
        for trait, kinds in _TRAITS:
            facts += [(trait, id_) for id_, kind in sorted(self.things.items()) if kind in kinds]
        facts += [("openable", id_) for id_ in sorted(self.openable)]
        facts.append(("atLocation", "agent1", start))
        facts += [("inReceptacle", thing, place) for thing, place in sorted(self.inside.items())]
        facts += [("receptacleAtLocation", place, at) for place, at in sorted(self.location_of.items())]
        facts += [("objectAtLocation", thing, self.location_of[place]) for thing, place in sorted(self.inside.items())]
        return "\n".join(
            [
                "",
                f"(define (problem {name})",
                "(:domain alfred)",
                "(:objects",
                *(f"        {id_} - {type_}" for id_, type_ in objects),
                "        )",
                "(:init",
                *(f"        ({' '.join(fact)})" for fact in facts),
                "        )",
                goal,
                ")",
                "",
            ]
        )


_ALL_THINGS = frozenset(belonging.name for room in ROOMS for belonging in room.belongings)
_TRAITS = (
    ("pickupable", _ALL_THINGS - furniture.FIXED),
    ("isReceptacleObject", furniture.VESSELS),
    ("cleanable", furniture.CLEANABLE),
    ("heatable", furniture.HEATABLE),
    ("coolable", furniture.COOLABLE),
    ("toggleable", furniture.FIXED),
    ("sliceable", furniture.SLICEABLE),
)


@lru_cache(maxsize=1)
def _declared_types() -> list[tuple[str, str]]:
    """All types of things and places, those that only the rules name among them."""
    things = sorted(_ALL_THINGS.union(*furniture.FITS.values(), {"Sink"}))
    return [
        *((f"{thing}Type", "otype") for thing in things),
        *((f"{place}Type", "rtype") for place in sorted(furniture.FITS)),
    ]


def _furnished(room: Room, chance: _Chance) -> _Draft:
    draft = _Draft(chance)
    for kind in room.furniture:
        if chance.happens(kind.chance):
            for _ in range(chance.between(kind.fewest, kind.most)):
                draft.add_place(kind.name)
    return draft


def _tasks(draft: _Draft, room: Room, kind: str) -> list[tuple[str, str]]:
    """What the task could be about, and where it would go: all pairs this room allows."""
    able = _TREATABLE.get(kind, _ALL_THINGS) - furniture.FIXED
    pairs = []
    for belonging in room.belongings:
        thing, homes = belonging.name, _homes(draft, belonging)
        if thing not in able or not homes:
            continue
        if kind == "look_at_obj_in_light":
            pairs += [(thing, lamp) for lamp in furniture.FIXED if _homes(draft, _belonging(room, lamp))]
            continue
        for place in draft.places:
            if thing in furniture.FITS[place] and place not in _NO_TARGET and {*homes} != {place}:
                pairs.append((thing, place))
    return pairs


def _fill(draft: _Draft, room: Room, kind: str, thing: str, place: str) -> None:
    """Put things where people leave them; of the task's thing enough, and none where it is to go."""
    for belonging in room.belongings:
        homes = _homes(draft, belonging)
        needed = 0
        if belonging.name == thing:
            homes = [home for home in homes if home != place]
            needed = 2 if kind == "pick_two_obj_and_place" else 1
        elif belonging.name == place:  # the lamp
            needed = 1
        drawn = draft.chance.between(1, belonging.most) if draft.chance.happens(belonging.chance) else 0
        if homes:
            for _ in range(max(drawn, needed)):
                draft.add_thing(belonging.name, draft.chance.one_of(homes))


def _homes(draft: _Draft, belonging: Belonging) -> list[str]:
    return [home for home in belonging.homes if draft.places.get(home)]


def _belonging(room: Room, name: str) -> Belonging:
    return next(belonging for belonging in room.belongings if belonging.name == name)
