"""A world small enough to see through: walk right until the door; behind some doors is a wall."""

import os
import time
from collections.abc import Sequence

WALL = 5  # every fifth corridor cannot be won


class Corridor:
    def __init__(self, game_id: str) -> None:
        self.id = game_id
        self.split, _, number = game_id.partition("/")
        self.length = int(number) % 7 + 1
        self.open_door = int(number) % WALL != 0
        self.task = f"walk {self.length} steps"
        self.at = 0

    def reset(self) -> str:
        self.at = 0
        return f"You are in a corridor. Your task is to: {self.task}."

    def step(self, action: str) -> str:
        time.sleep(float(os.environ.get("CORRIDOR_STEP_S", "0")))
        if action != "walk":
            return "Nothing happens."
        self.at += 1
        return f"You are {self.at} steps in."

    @property
    def won(self) -> bool:
        return self.open_door and self.at >= self.length

    @property
    def done(self) -> bool:
        return self.won or self.at > self.length + 10

    @property
    def score(self) -> float:
        return float(self.won)


class Walker:
    def begin(self, task: str, opening: str) -> None:
        self.left = int(task.split()[1]) + 2

    def act(self) -> str | None:
        return "walk" if self.left else None

    def observe(self, action: str, observation: str) -> None:
        self.left -= 1


class Corridors:
    name = "corridors"
    instructions = "Say walk."

    def tasks(self, split: str) -> Sequence[str]:
        return [f"{split}/{number}" for number in range(40)] if split in ("train", "valid") else []

    def open(self, task_id: str) -> Corridor:
        return Corridor(task_id)

    def kind(self, task_id: str) -> str:
        return "short" if Corridor(task_id).length < 4 else "long"

    def teacher(self) -> Walker:
        return Walker()


class Unteachable(Corridors):
    teacher = None  # type: ignore[assignment]


class Signed(Corridor):
    def reset(self) -> str:
        return f"{super().reset()} A sign says {self.id}."


class SignedCorridors(Corridors):
    """No two games of these look the same."""

    def open(self, task_id: str) -> Corridor:
        return Signed(task_id)
