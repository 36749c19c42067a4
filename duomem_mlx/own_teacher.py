"""A world's own teacher: whatever it does wrong is one sentence, a WorldBroke."""

from collections.abc import Callable, Mapping
from typing import Any

from duomem_mlx.environment import Environment, Teacher
from duomem_mlx.errors import UsageError
from duomem_mlx.offers import WorldBroke, asked, finite, text_of
from duomem_mlx.trajectory import ENDS

TOKENS = ("in", "out")


class OwnTeacher:
    """An `environment.Teacher` that raises WorldBroke and nothing else, names actions that are texts, and whose
    thoughts, tokens and seconds can be kept."""

    def __init__(self, teacher: Any) -> None:
        self._teacher = teacher

    def begin(self, task: str, opening: str) -> None:
        asked("teacher", lambda: self._teacher.begin(task, opening))

    def act(self) -> str | None:
        action = asked("teacher", lambda: self._teacher.act())
        return None if action is None else text_of("teacher", action)

    def observe(self, action: str, observation: str) -> None:
        asked("teacher", lambda: self._teacher.observe(action, observation))

    @property
    def thought(self) -> str | None:
        thought = self._noted("thought")
        return None if thought is None else text_of("teacher", thought)

    @property
    def tokens(self) -> dict[str, int] | None:
        tokens = self._noted("tokens")
        if tokens is None:
            return None
        fits = isinstance(tokens, Mapping) and all(finite(tokens.get(name)) and tokens[name] >= 0 for name in TOKENS)
        return {name: int(tokens[name]) for name in TOKENS} if fits else _none_such("tokens", tokens)

    @property
    def gave_up_for(self) -> str:
        end = self._noted("gave_up_for")
        if end is None:
            return "lost"
        return str(end) if isinstance(end, str) and end in ENDS[1:] else _none_such("gave_up_for", end)

    @property
    def replayed_seconds(self) -> float:
        seconds = self._noted("replayed_seconds")
        if seconds is None:
            return 0.0
        return float(seconds) if finite(seconds) and seconds >= 0 else _none_such("replayed_seconds", seconds)

    def _noted(self, name: str) -> Any:
        return asked("teacher", lambda: getattr(self._teacher, name, None))


def teacher_of(environment: Environment, seed: int | None = None) -> Teacher:
    """The environment's own teacher; with a seed one that goes about it in another way, the same for the same seed.
    What is wrong with it is told when it begins a game.

    Raises UsageError when it has none.
    """
    if seed is not None:
        vary = getattr(environment, "varied_teacher", None)
        if vary is None:
            raise UsageError(
                f"The teacher of {environment.name!r} knows one way only.", "Leave out --attempts and --solutions."
            )
        return guarded_teacher(lambda: vary(seed))
    make = getattr(environment, "teacher", None)
    if make is None:
        raise UsageError(
            f"The environment {environment.name!r} has no teacher of its own.",
            "Use --teacher gold where its games come with solutions, --teacher remote, or import trajectories.",
        )
    return guarded_teacher(make)


def guarded_teacher(make: Callable[[], Any]) -> OwnTeacher:
    """The teacher that `make` gives, asked at once; what the world does wrong there is told when it begins a game.
    Raises UsageError as `make` does."""
    try:
        return OwnTeacher(asked("teacher", make))
    except WorldBroke as broke:
        return OwnTeacher(_Absent(broke))


class _Absent:
    """In place of a teacher that could not be made."""

    def __init__(self, why: WorldBroke) -> None:
        self._why = why

    def begin(self, task: str, opening: str) -> None:
        raise self._why


def _none_such(name: str, value: object) -> Any:
    raise WorldBroke(f"The world's `teacher` has {name} that are none: {str(value)[:40]!r}.")
