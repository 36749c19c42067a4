"""The fast engine: the rules of the household as TextWorld plays them, in plain Python.

A command is taken word for word or not at all: no other case, no second space. What cannot be done is answered with
"Nothing happens.", and nothing does.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from duomem_mlx.household.files import task_of_line
from duomem_mlx.household.logic import BLADES, COOLING, HEATING, Generation
from duomem_mlx.household.world import State, World

REFUSED = "Nothing happens."


class Snapshot(NamedTuple):
    """A moment of a game, to come back to; good for every game of the same file."""

    state: State
    told: str
    won: bool
    done: bool


class FastGame:
    """One game in play."""

    def __init__(self, world: World, rules: Generation, task_line: str, game_id: str, split: str) -> None:
        self.id = game_id
        self.split = split
        self.task = task_of_line(task_line)
        self.world = world
        self.rules = rules
        self._task_line = task_line
        self._verbs = _verbs(rules)
        self.reset()

    # -- the protocol of a game ------------------------------------------------------------------------------

    def reset(self) -> str:
        """Start over; the opening text."""
        self._state = self.world.start.copy()
        self._won = self._reached()
        self._done = False  # as in TextWorld: a game that begins at its goal ends with the first command
        surroundings = self._facing() if self._here() else _in_the_middle(self._series(self.world.location_of))
        self._told = f"-= Welcome to TextWorld, ALFRED! =-\n\n{surroundings}\n\n{self._task_line}"
        return self._told

    def step(self, action: str) -> str:
        """Act; the text that follows. After the end the last text is said again and nothing changes."""
        if self._done:
            return self._told
        verb, _, rest = action.strip().partition(" ")
        act = self._verbs.get(verb)
        told = act(self, rest) if act else None
        if told is None:
            told = REFUSED
        else:
            self._won = self._reached()
        self._told = told
        self._done = self._won
        return told

    @property
    def done(self) -> bool:
        return self._done

    @property
    def won(self) -> bool:
        return self._won

    @property
    def score(self) -> float:
        return float(self._won)

    def valid_commands(self) -> list[str]:
        """What the world would accept now, sorted."""
        return sorted(set(self._possible()))

    def snapshot(self) -> Snapshot:
        return Snapshot(self._state.copy(), self._told, self._won, self._done)

    def restore(self, moment: Snapshot) -> None:
        self._state = moment.state.copy()
        self._told, self._won, self._done = moment.told, moment.won, moment.done

    # -- what can be done ------------------------------------------------------------------------------------
    # Each takes the words after the verb and returns what is told, None when it cannot be done.

    def _go(self, rest: str) -> str | None:
        place = self.world.place_named.get(rest.removeprefix("to ")) if rest.startswith("to ") else None
        if place is None or self.world.location_of[place] == self._state.at:
            return None
        self._state.at = self.world.location_of[place]
        reached = self._state.at if self.rules.arrive_at_location else place
        return f"You arrive at {self.world.names[reached]}. {self._inside(place)}"

    def _open(self, rest: str) -> str | None:
        place = self._place_here(rest)
        if place is None or place not in self.world.openable or place in self._state.opened:
            return None
        self._state.opened |= {place}
        return f"You open the {rest}. {self._inside(place)}"

    def _close(self, rest: str) -> str | None:
        place = self._place_here(rest)
        if place is None or place not in self.world.openable or place not in self._state.opened:
            return None
        self._state.opened -= {place}
        return f"You close the {rest}."

    def _take(self, rest: str) -> str | None:
        name, _, place_name = rest.partition(" from ")
        thing, place = self.world.thing_named.get(name), self._place_here(place_name)
        if thing is None or place is None or not self._can_take(thing, place):
            return None
        state = self._state
        state.contents[place] = tuple(other for other in state.contents[place] if other != thing)
        state.lying -= {(thing, state.at)}
        state.left |= {(thing, place)}
        state.held = thing
        return f"You pick up the {name} from the {place_name}."

    def _put(self, rest: str) -> str | None:
        name, _, place_name = rest.partition(self.rules.put_words[1])
        thing, place = self.world.thing_named.get(name), self._place_here(place_name)
        if thing is None or place is None or not self._can_put(thing, place):
            return None
        state = self._state
        state.contents[place] = tuple(sorted({*state.contents[place], thing}))
        state.lying |= {(thing, state.at)}
        state.left -= {(thing, place)}
        state.held = None
        return self.rules.put_told.format(thing=name, place=place_name)

    def _clean(self, rest: str) -> str | None:
        thing = self._treated(rest, self.world.cleanable, self.rules.washing)
        if thing is None:
            return None
        self._state.clean |= {thing}
        return _treatment_told("clean", rest)

    def _heat(self, rest: str) -> str | None:
        thing = self._treated(rest, self.world.heatable, HEATING)
        if thing is None:
            return None
        self._state.hot |= {thing}
        self._state.cool -= {thing}
        return _treatment_told("heat", rest)

    def _cool(self, rest: str) -> str | None:
        thing = self._treated(rest, self.world.coolable, COOLING)
        if thing is None:
            return None
        self._state.cool |= {thing}
        self._state.hot -= {thing}
        return _treatment_told("cool", rest)

    def _use(self, rest: str) -> str | None:
        thing = self.world.thing_named.get(rest)
        if thing is None or not self._can_use(thing):
            return None
        self._state.toggled |= {thing}  # a second use is told, and counts, as the first
        return f"You turn on the {rest}."

    def _slice(self, rest: str) -> str | None:
        name, _, knife_name = rest.partition(" with ")
        thing, knife = self.world.thing_named.get(name), self.world.thing_named.get(knife_name)
        if thing is None or knife is None or knife != self._state.held or not self._can_slice(thing):
            return None
        self._state.sliced |= {thing}
        return f"You sliced the {name} with the {knife_name}."

    def _examine(self, rest: str) -> str | None:
        place = self._place_here(rest)
        if place is not None:
            return self._inside(place)
        # ALFWorld means what lies open here to be examined too; a comma in its domain keeps it from that.
        thing = self.world.thing_named.get(rest)
        return self._looks(thing) if thing is not None and thing == self._state.held else None

    def _look(self, rest: str) -> str | None:
        if rest:
            return None
        return self._facing() if self._here() else _in_the_middle("nothing")

    def _inventory(self, rest: str) -> str | None:
        if rest:
            return None
        if self._state.held is None:
            return "You are not carrying anything."
        return f"You are carrying: a {self.world.names[self._state.held]}."

    def _help(self, rest: str) -> str | None:
        return None if rest else self.rules.help

    # -- when it can be done ---------------------------------------------------------------------------------

    def _here(self) -> tuple[int, ...]:
        """The places within reach."""
        return self.world.places_at.get(self._state.at, ())

    def _place_here(self, name: str) -> int | None:
        place = self.world.place_named.get(name)
        return place if place is not None and self.world.location_of[place] == self._state.at else None

    def _accessible(self, place: int) -> bool:
        return place not in self.world.openable or place in self._state.opened

    def _can_take(self, thing: int, place: int) -> bool:
        return (
            self._state.held is None
            and thing in self.world.pickupable
            and thing in self._state.contents[place]
            and self._accessible(place)
        )

    def _can_put(self, thing: int, place: int) -> bool:
        world = self.world
        return (
            thing == self._state.held
            and self._accessible(place)
            and (world.place_type[place], world.thing_type.get(thing, "")) in world.fits
        )

    def _treated(self, rest: str, able: frozenset[int], places: frozenset[str]) -> int | None:
        """The held thing, when the words name it and a place here that would treat it."""
        name, _, place_name = rest.partition(" with ")
        thing, place = self.world.thing_named.get(name), self._place_here(place_name)
        if thing is None or place is None or thing != self._state.held or thing not in able:
            return None
        return thing if self.world.place_type[place] in places else None

    def _can_use(self, thing: int) -> bool:
        return thing in self.world.toggleable and any(thing in self._state.contents[place] for place in self._here())

    def _can_slice(self, thing: int) -> bool:
        """With what is held, from here; even through a closed door."""
        held = self._state.held
        return (
            held is not None
            and self.world.thing_type.get(held) in BLADES
            and thing in self.world.sliceable
            and (thing, self._state.at) in self._state.lying
        )

    def _possible(self) -> Iterator[str]:
        """Every command that would be accepted now; some twice."""
        world, state, names = self.world, self._state, self.world.names
        yield from ("look", "inventory")
        if self.rules.help is not None:
            yield "help"
        for place, location in world.location_of.items():
            if location != state.at:
                yield f"go to {names[place]}"
        for place in self._here():
            yield f"examine {names[place]}"
            if place in world.openable:
                yield f"{'close' if place in state.opened else 'open'} {names[place]}"
            for thing in state.contents[place]:
                if self._can_take(thing, place):
                    yield f"take {names[thing]} from {names[place]}"
                if thing in world.toggleable:
                    yield f"use {names[thing]}"
        if state.held is not None:
            yield from self._possible_with(state.held)

    def _possible_with(self, held: int) -> Iterator[str]:
        world, names = self.world, self.world.names
        verb, between = self.rules.put_words
        yield f"examine {names[held]}"
        for place in self._here():
            type_ = world.place_type[place]
            if self._can_put(held, place):
                yield f"{verb} {names[held]}{between}{names[place]}"
            if held in world.cleanable and type_ in self.rules.washing:
                yield f"clean {names[held]} with {names[place]}"
            if held in world.heatable and type_ in HEATING:
                yield f"heat {names[held]} with {names[place]}"
            if held in world.coolable and type_ in COOLING:
                yield f"cool {names[held]} with {names[place]}"
        for thing in world.sliceable:
            if self._can_slice(thing):
                yield f"slice {names[thing]} with {names[held]}"

    def _reached(self) -> bool:
        """Whether the goal is reached, however it came about."""
        goal, state = self.world.goal, self._state
        if goal.lamps:
            lit = goal.lamps & state.toggled
            return state.held in goal.things and any(
                not lit.isdisjoint(state.contents[place]) for place in self._here()
            )
        wanted = goal.things
        if goal.treatment:
            wanted &= {"clean": state.clean, "heat": state.hot, "cool": state.cool}[goal.treatment]
        return any(len(wanted.intersection(state.contents[place])) >= goal.count for place in goal.places)

    # -- how it is told --------------------------------------------------------------------------------------

    def _series(self, nouns: Iterable[int]) -> str:
        return _joined([f"a {self.world.names[noun]}" for noun in nouns])

    def _inside(self, place: int) -> str:
        name = self.world.names[place]
        if not self._accessible(place):
            return f"The {name} is closed."
        things = self._series(self._state.contents[place])
        if place in self.world.openable:
            return f"The {name} is open. In it, you see {things}."
        return f"On the {name}, you see {things}."

    def _facing(self) -> str:
        """The places here; and what lies here, once for each of them that it was taken from."""
        here = self._here()
        beside = [
            thing
            for thing, place in sorted(self._state.left)
            if place in here and (thing, self._state.at) in self._state.lying
        ]
        places = _joined([self.world.names[place] for place in here])
        return f"You are facing the {places}. Next to it, you see {self._series(beside)}."

    def _looks(self, thing: int) -> str:
        world, state, name = self.world, self._state, self.world.names[thing]
        if thing in world.vessels:
            return f"This is a normal {name}. In it, you see {self._series(world.inner.get(thing, ()))}."
        clean, hot, cool = thing in state.clean, thing in state.hot, thing in state.cool
        sliced = " sliced" if thing in state.sliced else ""
        if clean and (hot or cool):
            return f"This is a {'hot' if hot else 'cool'} and clean{sliced} {name}."
        if sliced and (clean or hot or cool):
            return f"This is a {'clean' if clean else 'hot' if hot else 'cool'}{sliced} {name}."
        if clean or hot or cool:
            return f"This is a {'hot' if hot else 'clean' if clean else 'cold'} {name}."
        if thing in world.toggleable and thing in state.toggled:
            return f"This {name} is on."
        if thing in world.sliceable and sliced:
            return f"This is a sliced {name}."
        return f"There's nothing special about {name}."


@lru_cache(maxsize=4)
def _verbs(rules: Generation) -> dict[str, Callable[[FastGame, str], str | None]]:
    """What each first word of a command does."""
    verbs: dict[str, Callable[[FastGame, str], str | None]] = {
        "go": FastGame._go,
        "open": FastGame._open,
        "close": FastGame._close,
        "take": FastGame._take,
        rules.put_words[0]: FastGame._put,
        "examine": FastGame._examine,
        "use": FastGame._use,
        "clean": FastGame._clean,
        "heat": FastGame._heat,
        "cool": FastGame._cool,
        "slice": FastGame._slice,
        "look": FastGame._look,
        "inventory": FastGame._inventory,
    }
    return verbs if rules.help is None else {**verbs, "help": FastGame._help}


def _joined(items: list[str]) -> str:
    if not items:
        return "nothing"
    return ", and ".join(filter(None, (", ".join(items[:-1]), items[-1])))


def _in_the_middle(things: str) -> str:
    return f"You are in the middle of a room. Looking quickly around you, you see {things}."


def _treatment_told(verb: str, rest: str) -> str:
    name, _, place_name = rest.partition(" with ")
    return f"You {verb} the {name} using the {place_name}."
