"""A teacher that does what it was told beforehand: for replays and for tests."""

from collections.abc import Callable, Iterable, Sequence


class ScriptedTeacher:
    """environment.Teacher that gives `actions` one after the other, whatever it sees, and then gives up."""

    def __init__(self, actions: Iterable[str]) -> None:
        self.actions = tuple(actions)
        self._given = 0

    def begin(self, task: str, opening: str) -> None:
        self._given = 0

    def act(self) -> str | None:
        if self._given == len(self.actions):
            return None
        self._given += 1
        return self.actions[self._given - 1]

    def observe(self, action: str, observation: str) -> None:
        pass


class SolvingTeacher(ScriptedTeacher):
    """One that asks for the ways of winning when it begins, and goes the `number`-th of them, or the last."""

    def __init__(self, ways: Callable[[], Sequence[Sequence[str]]], number: int) -> None:
        super().__init__(())
        self._ways, self._number = ways, number

    def begin(self, task: str, opening: str) -> None:
        super().begin(task, opening)
        ways = self._ways()
        self.actions = tuple(ways[min(self._number, len(ways)) - 1])
