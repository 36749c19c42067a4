"""A teacher that does what it was told beforehand: for replays and for tests."""

from collections.abc import Iterable


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
