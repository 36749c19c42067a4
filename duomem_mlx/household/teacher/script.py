"""A procedural memory's prose: what was done in one game, said so that it helps in another room."""

import re

from duomem_mlx.household.teacher.places import Places, observed_places
from duomem_mlx.household.teacher.search import TOOLS, SearchTeacher
from duomem_mlx.household.teacher.seen import Room, class_of
from duomem_mlx.household.teacher.task import Goal, read_task
from duomem_mlx.household.wording import NAME
from duomem_mlx.trajectory import Trajectory

ELSEWHERE = 2  # places named for when the first one is empty
LONGEST_WORDS = 45  # it stands before a small model's prompt


def describe(trajectory: Trajectory) -> str:
    """Two sentences: where to look first and where next, and what to do then; classes instead of numbers.

    The first place is the one where the thing was; the next ones are those of this room where such things were seen
    most often for the steps it takes to look. A task in words of its own gets its actions instead.
    """
    goal = read_task(trajectory.task)
    if goal is None:
        return _by_actions(trajectory)
    found_in, lamp_on = _findings(trajectory, goal)
    searcher = SearchTeacher()
    searcher.begin(trajectory.task, trajectory.opening)
    likely = [place for place in searcher.search_order(goal.thing) if place != found_in]
    places = ([found_in] if found_in else []) + likely[:ELSEWHERE]
    counts = observed_places()
    return f"Look for {_a(goal.thing)}{_where(places, counts)}. {_then(goal, lamp_on, counts)}"


def _findings(trajectory: Trajectory, goal: Goal) -> tuple[str | None, str | None]:
    """The classes of the places where the wanted thing was first taken and where the lamp stood."""
    room = Room(trajectory.opening)
    found_in = lamp_on = None
    for step in trajectory.steps:
        before = dict(room.things(goal.thing))
        room.read(step.action, step.observation)
        if found_in is None and room.held in before:
            found_in = class_of(before[room.held])
        if goal.lamp and step.action.startswith("use "):
            lamp_on = next((class_of(place) for _, place in room.things(goal.lamp) if place in room.here), lamp_on)
    return found_in, lamp_on


def _where(places: list[str], counts: Places) -> str:
    if not places:
        return ""
    first = f" {_in(places[0], counts)} first"
    then = f", then the {' or '.join(places[1:])}" if places[1:] else ""
    return first + then + (", opening what is closed" if any(_closes(place, counts) for place in places) else "")


def _then(goal: Goal, lamp_on: str | None, counts: Places) -> str:
    if goal.lamp:
        stands = f", often {_in(lamp_on, counts)}," if lamp_on else ""
        return f"Take it, find the {goal.lamp}{stands} and use the {goal.lamp} there."
    place = goal.place or ""
    put = f"go to the {place}{', open it if it is closed,' if _closes(place, counts) else ''} and put it there"
    if goal.count == 2:
        return f"Take it, {put}; then find another {goal.thing} and put it in the same {place}."
    if goal.treatment:
        return f"Take it, go to the {TOOLS[goal.treatment]} and {goal.treatment} it, then {put}."
    return f"Take it, {put}."


def _in(place: str, counts: Places) -> str:
    return f"{'in' if _closes(place, counts) else 'on'} the {place}"


def _closes(place: str, counts: Places) -> bool:
    return counts.chance_closed(place) > 0.5


def _a(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def _by_actions(trajectory: Trajectory) -> str:
    """The actions without their numbers, each said once, as many as fit."""
    told = dict.fromkeys(re.sub(NAME, lambda found: class_of(found[0]), action) for action in trajectory.actions)
    words = ", then ".join(told).split()[:LONGEST_WORDS]
    return " ".join(words).rstrip(",").capitalize() + "." if words else ""
