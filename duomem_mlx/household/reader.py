"""A problem as ALFWorld writes it, in PDDL, into a `World`.

Only what ALFWorld's games are made of is read; anything else is refused by name, for a game that is played nearly
right would be worse than none.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NoReturn

from duomem_mlx.errors import DuomemError
from duomem_mlx.household.world import Goal, Nouns, State, World

LARGEST = 1 << 20  # characters; ALFWorld's largest problem has some 100,000
LONGEST_NAME = 200  # the planner's library cuts a whole command at 1,024

# Possessive quantifiers: no text makes these look at a character twice.
_PROBLEM = re.compile(
    r"\s*+\(\s*+define\s*+\(\s*+problem\s++\w++\s*+\)\s*+\(\s*+:domain\s++alfred\s*+\)"
    r"\s*+\(\s*+:objects\s(?P<objects>[^()]*+)\)"
    r"\s*+\(\s*+:init\s(?P<facts>(?:\s*+\([^()]*+\))*+)\s*+\)"
    r"\s*+(?P<goal>\(\s*+:goal\s[^:]*+)",
    re.ASCII,
)
_CHARACTERS = re.compile(r"[a-z0-9_ \t\r\n()?:=-]*+")
_FACT = re.compile(r"\(([^()]*+)\)")
_TOKEN = re.compile(r"[()]|[^\s()]++")

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
    "cancontain": ("rtype", "otype"),
    "openable": ("receptacle",),
    "opened": ("receptacle",),
    **dict.fromkeys(_OBJECT_TRAITS, ("object",)),
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
    body = _GOALS[kind].replace("THING", thing_type).replace("PLACE", place_type)
    return f"(:goal (and {' '.join(body.split())}))"


def read_problem(text: str) -> World:
    """The world of a problem. Raises DuomemError when it is torn, too large, or not made as ALFWorld's are."""
    if len(text) > LARGEST:
        _refuse(f"it is longer than {LARGEST} characters")
    text = text.lower()
    if not _CHARACTERS.fullmatch(text):
        _refuse("it holds characters that no ALFWorld problem has")
    sections = _PROBLEM.fullmatch(text)
    if not sections:
        _refuse("its sections are not those of an ALFWorld problem, or it is torn")
    declared = _declared(sections["objects"].split())
    facts = _facts(sections["facts"], declared)
    return _world(declared, facts, _tokens(sections["goal"]))


def _refuse(why: str) -> NoReturn:
    raise DuomemError(
        f"The game's problem cannot be read: {why}.",
        "Fetch or generate the game again, or play it with --engine textworld.",
    )


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


_GOAL_TOKENS = {kind: _tokens(f"{goal_text(kind, 'THING', 'PLACE')} )") for kind in _GOALS}


def _declared(tokens: list[str]) -> dict[str, set[str]]:
    """Type -> names, out of `name - type name - type …`."""
    if len(tokens) % 3 or any(dash != "-" for dash in tokens[1::3]):
        _refuse("its objects are not declared one by one")
    declared: dict[str, set[str]] = defaultdict(set)
    for name, type_ in zip(tokens[::3], tokens[2::3], strict=True):
        declared[type_].add(name)
    if sum(map(len, declared.values())) != len(set(tokens[::3])):
        _refuse("an object is declared with two types")
    return declared


Facts = dict[str, list[list[str]]]


def _facts(section: str, declared: dict[str, set[str]]) -> Facts:
    """Predicate -> the arguments of each fact, all declared and of the right type."""
    facts: Facts = defaultdict(list)
    for fact in _FACT.findall(section):
        predicate, *arguments = fact.split() or [""]
        facts[predicate].append(arguments)
    for predicate, rows in facts.items():
        types = _SIGNATURES.get(predicate)
        if types is None:
            _refuse(f"it says {predicate[:40]!r} of something")
        if any(len(row) != len(types) for row in rows):
            _refuse(f"a fact {predicate!r} has too many or too few arguments")
        for type_, column in zip(types, zip(*rows, strict=True), strict=True):
            if not declared[type_].issuperset(column):
                _refuse(f"a fact {predicate!r} names something that is not declared as {type_}")
    return facts


def _world(declared: dict[str, set[str]], facts: Facts, goal: list[str]) -> World:
    location_of = _single(facts, "receptacleatlocation")
    place_type = _single(facts, "receptacletype")
    thing_type = _single(facts, "objecttype")
    agent_at = _single(facts, "atlocation")
    if len(agent_at) != 1:
        _refuse("it has no agent, or more than one")
    if place_type.keys() != location_of.keys():
        _refuse("a place has no type or no location")

    ids = sorted(_nouns(facts))
    names = _names(ids)
    number = {id_: place for place, id_ in enumerate(ids)}

    def marked(trait: str) -> Nouns:
        return frozenset([number[row[0]] for row in facts.get(trait, ())])

    def pairs(predicate: str) -> list[tuple[int, int]]:
        return sorted({(number[a], number[b]) for a, b in facts.get(predicate, ())})

    places = {number[id_]: number[at] for id_, at in sorted(location_of.items())}
    contents: dict[int, tuple[int, ...]] = dict.fromkeys(places, ())
    for thing, place in pairs("inreceptacle"):
        if place not in contents:
            _refuse("a thing is in a place that has no location")
        contents[place] += (thing,)
    places_at: dict[int, tuple[int, ...]] = {}
    for place in contents:
        places_at[places[place]] = (*places_at.get(places[place], ()), place)
    inner: dict[int, tuple[int, ...]] = {}
    for thing, vessel in pairs("inreceptacleobject"):
        inner[vessel] = (*inner.get(vessel, ()), thing)

    things = {number[id_]: type_ for id_, type_ in thing_type.items()}
    named_things = [n for id_, n in number.items() if id_ in declared["object"]]
    place_types = {number[id_]: type_ for id_, type_ in place_type.items()}
    traits = {trait: marked(trait) for trait in (*_OBJECT_TRAITS, "openable", "opened")}
    return World(
        names=names,
        thing_named={names[thing]: thing for thing in named_things},
        place_named={names[place]: place for place in places},
        location_of=places,
        places_at=places_at,
        thing_type=things,
        place_type=place_types,
        fits=frozenset((place, thing) for place, thing in facts.get("cancontain", ())),
        inner=inner,
        openable=traits["openable"],
        pickupable=traits["pickupable"],
        cleanable=traits["cleanable"],
        heatable=traits["heatable"],
        coolable=traits["coolable"],
        toggleable=traits["toggleable"],
        sliceable=traits["sliceable"],
        vessels=traits["isreceptacleobject"],
        goal=_goal(goal, things, place_types, traits),
        start=State(
            at=number[next(iter(agent_at.values()))],
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
    rows = facts.get(predicate, [])
    found = {row[0]: row[1] for row in rows}
    if any(found[a] != b for a, b in rows):
        _refuse(f"{predicate!r} is said twice of one thing")
    return found


def _nouns(facts: Facts) -> set[str]:
    """Ids of all things, places and locations that a fact names: only these are numbered."""
    return {
        row[column]
        for predicate, rows in facts.items()
        for column, type_ in enumerate(_SIGNATURES[predicate])
        if type_ in ("object", "receptacle", "location")
        for row in rows
    }


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
        names.append(f"{kind} {numbers[kind]}")
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
