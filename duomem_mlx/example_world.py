"""A world of chests: each holds four things, and one of them is asked for."""

import random

THINGS = ("ring", "map", "coin", "lamp")


class Chest:
    def __init__(self, task_id: str) -> None:
        self.id, self.split = task_id, task_id.partition("/")[0]
        self.wanted = random.Random(task_id).choice(THINGS)  # by the id alone: the same in every run
        self.task = f"fetch the {self.wanted}"

    def reset(self) -> str:
        self.done, self.won, self.score = False, False, 0.0
        return f"Before you is a chest. Your task is to: {self.task}."

    def step(self, action: str) -> str:
        if action == "open chest":
            self.score = 0.5  # of 1: what the game is worth if it is not won
            return f"In it are: {', '.join(THINGS)}."
        self.done = self.score > 0 and action.removeprefix("take ") in THINGS
        self.won = self.done and action == f"take {self.wanted}"
        self.score = 1.0 if self.won else self.score
        return f"You {action}." if self.done else "That cannot be done."


class Chests:
    name, splits = "chests", ("train", "test")
    instructions = 'End every answer with a line, "Action: open chest" or "Action: take (thing)".'

    def tasks(self, split: str) -> list[str]:
        return [f"{split}/{number}" for number in range(40)] if split in self.splits else []

    def open(self, task_id: str) -> Chest:
        return Chest(task_id)


class Reader:
    """Knows what to do from the task, as the student could."""

    def begin(self, task: str, opening: str) -> None:
        self.plan = ["open chest", f"take {task.split()[-1]}"]

    def act(self) -> str | None:
        return self.plan.pop(0) if self.plan else None

    def observe(self, action: str, observation: str) -> None:
        """The plan stands whatever is seen."""


class TaughtChests(Chests):
    def teacher(self) -> Reader:
        return Reader()
