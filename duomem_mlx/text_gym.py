"""Text environments of Gymnasium's kind as worlds: `reset(seed=…)` and `step(text)`, with text for observations."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TASK = "task"  # in the info that `reset` gives: one sentence
VERDICTS = ("won", "success", "is_success")  # in the info of a step


@dataclass(frozen=True)
class TextGym:
    """An `environment.Environment`. `make(task_id)` gives an environment of Gymnasium's kind; `splits` names the tasks
    of each split. `reset` gets a seed that follows from the task's id. The task is the info's `task`, else `task` here.

    A game is won where the info of its last step says so (`won`, `success` or `is_success`), else where it terminated
    with rewards that add up to more than 0; its score is their sum, between 0 and 1, and 1 when it is won.
    """

    name: str
    instructions: str
    make: Callable[[str], Any]
    tasks_of: Mapping[str, Sequence[str]]
    task: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.tasks_of)

    def tasks(self, split: str) -> Sequence[str]:
        return self.tasks_of.get(split, ())

    def open(self, task_id: str) -> "GymGame":
        split = next((split for split, ids in self.tasks_of.items() if task_id in ids), "")
        return GymGame(task_id, split, self.make(task_id), self.task)


class GymGame:
    def __init__(self, task_id: str, split: str, inner: Any, task: str) -> None:
        self.id, self.split = task_id, split
        self._inner = inner
        self._begin()
        self.task = str(self._info.get(TASK) or task)

    def _begin(self) -> None:
        self._opening, self._info = self._inner.reset(seed=zlib.crc32(self.id.encode()))
        self._terminated = self._truncated = self._acted = False
        self._rewards = 0.0

    def reset(self) -> str:
        if self._acted:
            self._begin()
        return self._opening  # type: ignore[no-any-return]

    def step(self, action: str) -> str:
        self._acted = True
        text, reward, self._terminated, self._truncated, self._info = self._inner.step(action)
        self._rewards += float(reward)
        return text  # type: ignore[no-any-return]

    @property
    def done(self) -> bool:
        return bool(self._terminated or self._truncated)

    @property
    def won(self) -> bool:
        for name in VERDICTS:
            if name in self._info:
                return self.done and bool(self._info[name])
        return bool(self._terminated) and self._rewards > 0

    @property
    def score(self) -> float:
        return 1.0 if self.won else min(1.0, max(0.0, self._rewards))
