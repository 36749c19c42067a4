"""A way to a game's goal, found with full knowledge of the world: the proof that a game can be won.

It looks into closed cupboards, so nothing that is taught may come from here.
"""

from duomem_mlx.errors import DuomemError
from duomem_mlx.household.engine import FastGame
from duomem_mlx.household.logic import COOLING, HEATING


def solve(game: FastGame) -> list[str]:
    """Commands from the opening to the goal; the game is left as it was.

    Raises DuomemError when there is no such way.
    """
    moment = game.snapshot()
    game.reset()
    walk = _Walk(game)
    try:
        if game.world.goal.lamps:
            _under_a_lamp(walk)
        else:
            _into_a_place(walk)
        if not game.won:
            raise DuomemError(f"No way to the goal of {game.id} was found.")
        return walk.commands
    finally:
        game.restore(moment)


class _Walk:
    """Commands done one after another, each of which has to work."""

    def __init__(self, game: FastGame) -> None:
        self.game = game
        self.commands: list[str] = []
        self._at: int | None = None

    def name(self, noun: int) -> str:
        return self.game.world.names[noun]

    def do(self, command: str) -> None:
        if command not in self.game.valid_commands():
            raise DuomemError(f"No way to the goal of {self.game.id} was found: {command!r} cannot be done.")
        self.game.step(command)
        self.commands.append(command)

    def reach(self, place: int) -> None:
        """Go there, and open it."""
        location = self.game.world.location_of[place]
        if self._at != location:
            self.do(f"go to {self.name(place)}")
            self._at = location
        command = f"open {self.name(place)}"
        if command in self.game.valid_commands():
            self.do(command)

    def fetch(self, thing: int, place: int) -> None:
        self.reach(place)
        self.do(f"take {self.name(thing)} from {self.name(place)}")


def _found(walk: _Walk, things: frozenset[int]) -> list[tuple[int, int]]:
    """(thing, place) of all that lie anywhere."""
    contents = walk.game.world.start.contents
    return [(thing, place) for place, inside in contents.items() for thing in inside if thing in things]


def _under_a_lamp(walk: _Walk) -> None:
    goal = walk.game.world.goal
    thing, place = _first(_found(walk, goal.things), walk)
    lamp, lamp_place = _first(_found(walk, goal.lamps), walk)
    walk.fetch(thing, place)
    walk.reach(lamp_place)
    walk.do(f"use {walk.name(lamp)}")


def _into_a_place(walk: _Walk) -> None:
    world, goal = walk.game.world, walk.game.world.goal
    target, _ = _first([(place, place) for place in sorted(goal.places)], walk)
    found = [(thing, place) for thing, place in _found(walk, goal.things) if place != target]
    if len(found) < goal.count:
        raise DuomemError(f"{walk.game.id} holds too few things for its goal.")
    treating = {"clean": walk.game.rules.washing, "heat": HEATING, "cool": COOLING}.get(goal.treatment)
    for thing, place in found[: goal.count]:
        walk.fetch(thing, place)
        if treating:
            tool, _ = _first([(p, p) for p, type_ in world.place_type.items() if type_ in treating], walk)
            walk.reach(tool)
            walk.do(f"{goal.treatment} {walk.name(thing)} with {walk.name(tool)}")
        walk.reach(target)
        verb, between = walk.game.rules.put_words
        walk.do(f"{verb} {walk.name(thing)}{between}{walk.name(target)}")


def _first(found: list[tuple[int, int]], walk: _Walk) -> tuple[int, int]:
    if not found:
        raise DuomemError(f"{walk.game.id} lacks what its goal needs.")
    return found[0]
