"""A problem as ALFWorld writes it, in PDDL, into a `World`.

Only what ALFWorld's games are made of is read; anything else is refused by name, for a game that is played nearly
right would be worse than none.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from sys import intern
from typing import NoReturn

from duomem_mlx.errors import DuomemError
from duomem_mlx.household.world import Goal, Nouns, State, World

LARGEST = 1 << 20  # characters; ALFWorld's largest problem has some 100,000
LONGEST_NAME = 200  # the planner's library cuts a whole command at 1,024

# Possessive quantifiers: no text makes these look at a character twice.
_HEAD = re.compile(r"\s*+\(\s*+define\s*+\(\s*+problem\s++\w++\s*+\)\s*+\(\s*+:domain\s++alfred\s*+\)\s*+", re.ASCII)
_FACT = re.compile(r"\(([a-z]++) (\w++)(?: (\w++))?+\)", re.ASCII)
_STRAY = re.compile(r"\)\s*+[^\s(]")  # a word between two facts
_TOKEN = re.compile(r"[()]|[^\s()]++")
_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz0123456789_ \t\r\n()?:=-"

_OBJECT_TRAITS = (
    "cleanable",
    "coolable",
    "heatable",
    "isclean",
    "iscool",
    "ishot",
    "ison",
    "isreceptacleobject",
    "issliced",
    "istoggled",
    "moveable",
    "pickupable",
    "sliceable",
    "toggleable",
)
# What may be said, and of what.
_SIGNATURES = {
    "atlocation": ("agent", "location"),
    "receptacleatlocation": ("receptacle", "location"),
    "objectatlocation": ("object", "location"),
    "inreceptacle": ("object", "receptacle"),
    "inreceptacleobject": ("object", "object"),
    "receptacletype": ("receptacle", "rtype"),
    "objecttype": ("object", "otype"),
    "openable": ("receptacle", ""),
    "opened": ("receptacle", ""),
    **dict.fromkeys(_OBJECT_TRAITS, ("object", "")),
}

_PLACE_GOAL = "(exists (?r - receptacle) (exists (?o - object) (and {facts})))"
_STATE_GOAL = "({able} ?o) (objecttype ?o THING) (receptacletype ?r PLACE) ({state} ?o) (inreceptacle ?o ?r)"
_GOALS = {
    "pick_and_place_simple": _PLACE_GOAL.format(
        facts="(inreceptacle ?o ?r) (objecttype ?o THING) (receptacletype ?r PLACE)"
    ),
    "pick_clean_then_place_in_recep": _PLACE_GOAL.format(facts=_STATE_GOAL.format(able="cleanable", state="isclean")),
    "pick_heat_then_place_in_recep": _PLACE_GOAL.format(facts=_STATE_GOAL.format(able="heatable", state="ishot")),
    "pick_cool_then_place_in_recep": _PLACE_GOAL.format(facts=_STATE_GOAL.format(able="coolable", state="iscool")),
    "pick_two_obj_and_place": """(exists (?r - receptacle) (exists (?o1 - object) (and
        (objecttype ?o1 THING) (receptacletype ?r PLACE) (inreceptacle ?o1 ?r)
        (exists (?o2 - object) (and (not (= ?o1 ?o2))
            (objecttype ?o2 THING) (receptacletype ?r PLACE) (inreceptacle ?o2 ?r))))))""",
    "look_at_obj_in_light": """(exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and
            (objecttype ?ot PLACE) (toggleable ?ot) (istoggled ?ot)
            (receptacleatlocation ?r ?l) (atlocation ?a ?l) (inreceptacle ?ot ?r)))
        (exists (?o - object ?a - agent) (and (objecttype ?o THING) (holds ?a ?o)))""",
}


def goal_text(kind: str, thing_type: str, place_type: str) -> str:
    """The goal of a task type as a problem states it; `place_type` is the lamp's type for `look_at_obj_in_light`."""
    return f"(:goal {_goal_body(kind, thing_type, place_type)})"


def _goal_body(kind: str, thing_type: str, place_type: str) -> str:
    body = _GOALS[kind].replace("THING", thing_type).replace("PLACE", place_type)
    return f"(and {' '.join(body.split())})"


def read_problem(text: str) -> World:
    """The world of a problem. Raises DuomemError when it is torn, too large, or not made as ALFWorld's are."""
    if len(text) > LARGEST:
        _refuse(f"it is longer than {LARGEST} characters")
    text = text.lower()
    if text.encode(errors="surrogatepass").translate(None, _CHARACTERS):
        _refuse("it holds characters that no ALFWorld problem has")
    head, _, rest = text.partition("(:objects")
    objects, _, rest = rest.partition("(:init")
    facts, _, goal = rest.partition("(:goal")
    if not _HEAD.fullmatch(head):
        _refuse("it is no problem of the domain alfred")
    type_of = _declared(_whole(objects, "objects"))
    before, table, after = _cut(_whole(facts, "facts"))
    return _world(type_of, _facts(before + after, type_of), _fits(table), _TOKEN.findall(goal))


def _whole(section: str, what: str) -> str:
    """What stands before the section's own closing bracket."""
    section, bracket, after = section.rpartition(")")
    if not bracket or after.strip():
        _refuse(f"its {what} are torn")
    return section


def _refuse(why: str) -> NoReturn:
    raise DuomemError(
        f"The game's problem cannot be read: {why}.",
        "Fetch or generate the game again, or play it with --engine textworld.",
    )


_GOAL_TOKENS = {kind: _TOKEN.findall(f"{_goal_body(kind, 'THING', 'PLACE')}))") for kind in _GOALS}


def _declared(section: str) -> dict[str, str]:
    """Name -> type, out of `name - type name - type …`."""
    words = section.split()
    names, dashes, types = words[::3], words[1::3], words[2::3]
    if not len(names) == len(types) == dashes.count("-"):
        _refuse("its objects are not declared one by one")
    type_of = dict(zip(names, types, strict=True))
    if len(type_of) != len(names) and any(type_of[name] != type_ for name, type_ in zip(names, types, strict=True)):
        _refuse("an object is declared with two types")
    return type_of


# Predicate -> first and second arguments of its facts, column by column; "" for a missing second.
Facts = dict[str, tuple[list[str], list[str]]]


_NONE: tuple[list[str], list[str]] = ([], [])


def _facts(section: str, type_of: dict[str, str]) -> Facts:
    """All facts but of what fits where; their arguments are declared and of the right type."""
    facts = _split(section)
    types = {**type_of, "": ""}
    for predicate, columns in facts.items():
        if predicate not in _SIGNATURES:
            _refuse(f"it says {predicate[:40]!r} of something")
        for type_, column in zip(_SIGNATURES[predicate], columns, strict=True):
            if set(map(types.get, column)) != {type_}:
                _refuse(f"a fact {predicate!r} does not say it of {' and '.join(filter(None, _SIGNATURES[predicate]))}")
    return facts


def _cut(facts: str) -> tuple[str, str, str]:
    """The facts before what fits where, these, and those after them."""
    start = facts.find("(cancontain ")
    if start < 0:
        return facts, "", ""
    end = facts.find(")", facts.rfind("(cancontain ")) + 1
    return facts[:start], facts[start:end], facts[end:]


def _split(section: str) -> Facts:
    found = _FACT.findall(section)
    section = section.strip()
    if not section.count("(") == section.count(")") == len(found) or _STRAY.search(f"){section}"):
        _refuse("something among its facts is no fact")
    facts: Facts = {}
    for predicate, run in groupby(found, itemgetter(0)):
        _, firsts, seconds = zip(*run, strict=True)
        columns = facts.setdefault(predicate, ([], []))
        columns[0].extend(firsts)
        columns[1].extend(seconds)
    return facts


@lru_cache(maxsize=512)
def _fits(table: str) -> frozenset[tuple[str, str]]:
    """What fits where: half of a problem's facts, and the same in all games with the same kinds of places."""
    facts = _split(table)
    if facts.keys() - {"cancontain"}:
        _refuse("what fits where is not said in one piece")
    return frozenset(zip(*facts.get("cancontain", _NONE), strict=True))


def _world(type_of: dict[str, str], facts: Facts, fits: frozenset[tuple[str, str]], goal: list[str]) -> World:
    location_of = _single(facts, "receptacleatlocation")
    place_type = _single(facts, "receptacletype")
    thing_type = _single(facts, "objecttype")
    agents = _single(facts, "atlocation")
    if len(agents) != 1:
        _refuse("it has no agent, or more than one")
    if place_type.keys() != location_of.keys():
        _refuse("a place has no type or no location")

    ids = sorted(_nouns(facts))
    names = _names(ids)
    number = {id_: place for place, id_ in enumerate(ids)}
    number_of = number.__getitem__

    def marked(trait: str) -> Nouns:
        return frozenset(map(number_of, facts.get(trait, _NONE)[0]))

    def pairs(predicate: str) -> list[tuple[int, int]]:
        firsts, seconds = facts.get(predicate, _NONE)
        return sorted(set(zip(map(number_of, firsts), map(number_of, seconds), strict=True)))

    places = {number[id_]: number[at] for id_, at in sorted(location_of.items())}
    contents: dict[int, tuple[int, ...]] = dict.fromkeys(places, ())
    for thing, place in pairs("inreceptacle"):
        if place not in contents:
            _refuse("a thing is in a place that has no location")
        contents[place] += (thing,)
    places_at: dict[int, tuple[int, ...]] = {}
    for place, at in places.items():
        places_at[at] = (*places_at.get(at, ()), place)
    inner: dict[int, tuple[int, ...]] = {}
    for thing, vessel in pairs("inreceptacleobject"):
        inner[vessel] = (*inner.get(vessel, ()), thing)

    thing_types = {number[id_]: type_ for id_, type_ in thing_type.items()}
    place_types = {number[id_]: type_ for id_, type_ in place_type.items()}
    traits = {trait: marked(trait) for trait in (*_OBJECT_TRAITS, "openable", "opened")}
    return World(
        names=names,
        thing_named={names[n]: n for n, id_ in enumerate(ids) if type_of[id_] == "object"},
        place_named={names[place]: place for place in places},
        location_of=places,
        places_at=places_at,
        thing_type=thing_types,
        place_type=place_types,
        fits=fits,
        inner=inner,
        openable=traits["openable"],
        pickupable=traits["pickupable"],
        cleanable=traits["cleanable"],
        heatable=traits["heatable"],
        coolable=traits["coolable"],
        toggleable=traits["toggleable"],
        sliceable=traits["sliceable"],
        vessels=traits["isreceptacleobject"],
        goal=_goal(goal, thing_types, place_types, traits),
        start=State(
            at=number[next(iter(agents.values()))],
            held=None,
            contents=contents,
            lying=frozenset(pairs("objectatlocation")),
            left=frozenset(),
            opened=traits["opened"],
            clean=traits["isclean"],
            hot=traits["ishot"],
            cool=traits["iscool"],
            toggled=traits["istoggled"],
            sliced=traits["issliced"],
        ),
    )


def _single(facts: Facts, predicate: str) -> dict[str, str]:
    """A relation in which each first argument has one second argument."""
    firsts, seconds = facts.get(predicate, _NONE)
    found = dict(zip(firsts, map(intern, seconds), strict=True))
    if len(found) != len(firsts) and any(found[a] != b for a, b in zip(firsts, seconds, strict=True)):
        _refuse(f"{predicate!r} is said twice of one thing")
    return found


def _nouns(facts: Facts) -> set[str]:
    """Ids of all things, places and locations that a fact names: only these are numbered."""
    nouns: set[str] = set()
    for predicate, columns in facts.items():
        for type_, column in zip(_SIGNATURES[predicate], columns, strict=True):
            if type_ in ("object", "receptacle", "location"):
                nouns.update(column)
    return nouns


def _names(ids: Iterable[str]) -> tuple[str, ...]:
    """ALFWorld's names for sorted ids: the kind of thing and a number, the first id of a kind with the highest."""
    kinds = []
    for id_ in ids:
        kind, bar, _ = id_.partition("_bar_")
        if not bar or "_" in kind or len(id_) > LONGEST_NAME:
            _refuse(f"{id_[:40]!r} is no name of a thing, a place or a location")
        kinds.append(f"{kind}basin" if "basin" in id_ else kind)
    numbers = Counter(kinds)
    names = []
    for kind in kinds:
        names.append(intern(f"{kind} {numbers[kind]}"))
        numbers[kind] -= 1
    return tuple(names)


def _goal(tokens: list[str], things: dict[int, str], places: dict[int, str], traits: dict[str, Nouns]) -> Goal:
    for kind, template in _GOAL_TOKENS.items():
        if (types := _match(template, tokens)) is None:
            continue
        treatment = next((word for word in ("clean", "heat", "cool") if kind.startswith(f"pick_{word}_")), "")
        things_of_type = frozenset(n for n, type_ in things.items() if type_ == types["THING"])
        return Goal(
            kind=kind,
            things=things_of_type & traits[f"{treatment}able"] if treatment else things_of_type,
            places=frozenset(n for n, type_ in places.items() if type_ == types["PLACE"]),
            lamps=frozenset(n for n in traits["toggleable"] if things.get(n) == types["PLACE"]),
            treatment=treatment,
            count=2 if kind == "pick_two_obj_and_place" else 1,
        )
    _refuse("its goal is none of ALFWorld's six, or it is torn")


def _match(template: list[str], tokens: list[str]) -> dict[str, str] | None:
    """What stands for THING and PLACE when `tokens` follow `template`, else None."""
    if len(template) != len(tokens):
        return None
    found: dict[str, str] = {}
    for expected, token in zip(template, tokens, strict=True):
        if expected in ("THING", "PLACE"):
            if found.setdefault(expected, token) != token:
                return None
        elif expected != token:
            return None
    return found
