"""A world with a teacher that can take over anywhere: corridors, four places of them."""

from collections.abc import Sequence
from typing import Any

from duomem_mlx.environment import Game
from duomem_mlx.teachers.record import attempt
from duomem_mlx.trajectory import Trajectory
from tests.teachers.corridor import Corridor, Corridors


class Guide:
    """Always knows the way, after as many refusals as there were."""

    def begin(self, task: str, opening: str) -> None:
        self.read = [task, opening]

    def act(self) -> str | None:
        return "walk"

    def observe(self, action: str, observation: str) -> None:
        self.read += [action, observation]


class Guided(Corridors):
    def __init__(self) -> None:
        self.opened: list[str] = []

    def open(self, task_id: str) -> Game:
        self.opened.append(task_id)
        return Corridor(task_id)

    def place(self, task_id: str) -> str:
        return str(int(task_id.split("/")[1]) % 4)

    def refused(self, observation: str) -> bool:
        return observation == "Nothing happens."

    def teacher(self) -> Any:
        return Guide()


class Breaking(Corridor):
    def step(self, action: str) -> str:
        if self.at == 1:
            raise RuntimeError("the floor gave way")
        return super().step(action)


OPENED: list[str] = []


class Watched(Guided):
    """Every one notes what it opens in the same list."""

    def __init__(self) -> None:
        self.opened = OPENED


def taught(numbers: Sequence[int]) -> list[Trajectory]:
    """The teacher's own trajectories of some corridors that can be won."""
    world = Guided()
    made = [attempt(world, f"train/{number}", Guide(), {"kind": "guide"}, 30) for number in numbers if number % 5]
    return [one for one in made if one.won]
