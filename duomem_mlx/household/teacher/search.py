"""A teacher for the household that reads only the task and what it sees.

It remembers the room, and at every turn chooses anew: carry on with what it holds, fetch what it has seen, or look
at the place that is best to look at next. So it can also take over in the middle of another's game.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from duomem_mlx.household.teacher.places import Places, observed_places
from duomem_mlx.household.teacher.seen import Room, class_of, number_of
from duomem_mlx.household.teacher.task import Goal, read_task

TOOLS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}


SPREAD = 4.0  # how many times cheaper or dearer a habit makes the look into a place


@dataclass(frozen=True)
class Habits:
    """Likes and dislikes that follow from a seed: what is as good as something else is chosen by them, and they bend
    the order of searching. They stay the same through a game, so what was begun is carried on."""

    seed: int

    def liking(self, *names: str) -> float:
        """0 to 1, from the least liked to the best."""
        digest = hashlib.blake2b("/".join((str(self.seed), *names)).encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") / 2.0**48


class SearchTeacher:
    """environment.Teacher for ALFWorld's six kinds of task. What it does follows from the texts alone."""

    def __init__(self, places: Places | None = None, habits: Habits | None = None) -> None:
        """`habits`: none, and it does what takes the fewest steps on average."""
        self.chances = places or observed_places()
        self.habits = habits
        self.goal: Goal | None = None
        self.room = Room("")

    def begin(self, task: str, opening: str) -> None:
        self.goal = read_task(task)
        self.room = Room(opening)

    def observe(self, action: str, observation: str) -> None:
        self.room.read(action, observation)

    def act(self) -> str | None:
        """The next action; None when the task is none it knows, or nothing is left to try."""
        goal, held = self.goal, self.room.held
        if goal is None:
            return None
        if held is None:
            return self._fetch(goal)
        if class_of(held) != goal.thing:
            return self._put_away(held)
        if goal.lamp:
            return self._light(goal.lamp)
        if goal.treatment and goal.treatment not in self.room.treated.get(held, ()):
            return self._treat(held, goal.treatment)
        return self._place(held, goal)

    def search_order(self, thing: str) -> list[str]:
        """Classes of places in the order in which it would look through the room for a thing it has not seen."""
        classes = dict.fromkeys(class_of(place) for place in self._by_price(thing, self.room.places))
        return [kind for kind in classes if self.chances.accepts(kind, thing)]

    # -- what to do ------------------------------------------------------------------------------------------

    def _fetch(self, goal: Goal) -> str | None:
        kept = self._gathered(goal)
        known = [(thing, place) for thing, place in self.room.things(goal.thing) if place != kept]
        if not known:
            return self._look_for(goal.thing)
        thing, place = min(known, key=lambda pair: (-self._liking(*pair), self._steps_to(pair[1])))
        return self._reach(place) or f"take {thing} from {place}"

    def _light(self, lamp: str) -> str | None:
        known = [(thing, place) for thing, place in self.room.things(lamp) if f"use {thing}" not in self.room.refused]
        if not known:
            return self._look_for(lamp)
        thing, place = min(known, key=lambda pair: (pair[1] not in self.room.here, -self._liking(*pair)))
        return self._go(place) or f"use {thing}"

    def _treat(self, held: str, treatment: str) -> str | None:
        for tool in self._nearest(self._of_class(TOOLS[treatment])):
            if (action := f"{treatment} {held} with {tool}") not in self.room.refused:
                return self._go(tool) or action
        return None

    def _place(self, held: str, goal: Goal) -> str | None:
        for target in self._nearest(self._of_class(goal.place or ""), first=self._gathered(goal)):
            if (action := f"move {held} to {target}") not in self.room.refused:
                return self._reach(target) or action
        return None

    def _put_away(self, held: str) -> str | None:
        """Put down what the task has no use for: at the nearest place where such things were seen, else anywhere."""
        usual = {p for p in self.room.places if self.chances.accepts(class_of(p), class_of(held))}
        for place in sorted(self._nearest(self.room.places), key=lambda place: place not in usual):
            if (action := f"move {held} to {place}") not in self.room.refused:
                return self._reach(place) or action
        return None

    def _look_for(self, thing: str) -> str | None:
        unseen = [p for p in self.room.places if p not in self.room.inside and f"examine {p}" not in self.room.refused]
        if not unseen:
            return None
        place = self._by_price(thing, unseen)[0]
        return self._reach(place) or f"examine {place}"

    # -- how to weigh ----------------------------------------------------------------------------------------

    def _by_price(self, thing: str, places: Iterable[str]) -> list[str]:
        return sorted(places, key=lambda place: (self._price(thing, place), number_of(place)))

    def _price(self, thing: str, place: str) -> float:
        """Looking first where this is smallest costs the fewest steps on average: steps to look / chance to find it
        − steps saved later if it is found there."""
        kind = class_of(place)
        chance = self.chances.chance(thing, kind)
        saved = 0.0
        if (goal := self.goal) and thing == goal.thing:
            if goal.place == kind and goal.count == 1 and not goal.treatment:
                return float("inf")  # were it there, the task would be done
            if goal.treatment and TOOLS[goal.treatment] == kind:
                saved = 1.0
            if goal.lamp:
                saved = self.chances.chance(goal.lamp, kind)
        bent = SPREAD ** (1 - 2 * self._liking(thing, place)) if self.habits else 1.0
        return self._steps_to(place) / chance * bent - saved

    def _liking(self, *names: str) -> float:
        return self.habits.liking(*names) if self.habits else 0.0

    def _steps_to(self, place: str) -> float:
        """Expected steps until one stands there and it is open."""
        walk = 0.0 if place in self.room.here else 1.0
        if place in self.room.open:
            return walk + self.room.shut(place)
        return walk + (0.0 if place in self.room.inside else self.chances.chance_closed(class_of(place)))

    def _gathered(self, goal: Goal) -> str | None:
        """The place that already holds one of two things."""
        if goal.count == 1:
            return None
        return next((place for _, place in self.room.things(goal.thing) if class_of(place) == goal.place), None)

    def _of_class(self, kind: str) -> list[str]:
        return [place for place in self.room.places if class_of(place) == kind]

    def _nearest(self, places: Iterable[str], first: str | None = None) -> list[str]:
        def key(place: str) -> tuple[float, ...]:
            return (place != first, -self._liking(place), self._steps_to(place), number_of(place))

        return sorted(places, key=key)

    # -- how to get there ------------------------------------------------------------------------------------

    def _go(self, place: str) -> str | None:
        return None if place in self.room.here else f"go to {place}"

    def _reach(self, place: str) -> str | None:
        """The next step on the way to a place that is open; None when it can be used as it is."""
        if step := self._go(place):
            return step
        unknown = place not in self.room.inside and place not in self.room.open
        closed = self.room.shut(place) or (unknown and self.chances.chance_closed(class_of(place)) > 0)
        return f"open {place}" if closed and f"open {place}" not in self.room.refused else None
