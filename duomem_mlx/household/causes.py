"""Why a household game was not won, from what its player saw and did."""

from duomem_mlx.household.teacher.seen import Room, class_of
from duomem_mlx.household.teacher.task import Goal, read_task
from duomem_mlx.trajectory import Trajectory

NOT_FOUND = "never found the object"
SECOND_NOT_FOUND = "never found the second object"
NO_LAMP = "never found the lamp"
WRONG_OBJECT = "wrong object"
FORGOT = "forgot to {}"
WRONG_PLACE = "wrong place"
NOT_BROUGHT = "found, not brought there"
NOT_LIT = "found, not looked at in the light"


def cause(lost: Trajectory) -> str | None:
    """One of the causes above, the first step on the way to the goal that is missing; None for a game that was won or
    a task that is not one of ALFWorld's wordings."""
    goal = read_task(lost.task)
    if goal is None or lost.won:
        return None
    room, found, lamps = Room(lost.opening), set[str](), set[str]()
    put: dict[str, str] = {}  # thing -> where it was put last
    for step in lost.steps:
        held = room.held
        room.read(step.action, step.observation)
        known = {thing for things in room.inside.values() for thing in things} | ({room.held} if room.held else set())
        found |= {thing for thing in known if class_of(thing) == goal.thing}
        lamps |= {thing for thing in known if class_of(thing) == goal.lamp}
        if held and room.held is None:
            put.update((held, place) for place, things in room.inside.items() if held in things)
        elif room.held:
            put.pop(room.held, None)
    if len(found) < goal.count:
        return SECOND_NOT_FOUND if found else NOT_FOUND
    return _lamp(lamps) if goal.lamp else _brought(goal, room, put)


def _lamp(lamps: set[str]) -> str:
    return NOT_LIT if lamps else NO_LAMP


def _brought(goal: Goal, room: Room, put: dict[str, str]) -> str:
    there = [thing for thing, place in put.items() if class_of(place) == goal.place]
    right = [thing for thing in there if class_of(thing) == goal.thing]
    if goal.treatment and any(goal.treatment not in room.treated.get(thing, ()) for thing in right):
        return FORGOT.format(goal.treatment)
    if len(right) < len(there):
        return WRONG_OBJECT
    if any(class_of(thing) == goal.thing and class_of(place) != goal.place for thing, place in put.items()):
        return WRONG_PLACE
    return NOT_BROUGHT
