"""What a world offers beyond its games, asked so that whatever it does wrong there is one sentence: WorldBroke."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from duomem_mlx.environment import Environment, told
from duomem_mlx.errors import DuomemError, UsageError

MOST_CHARACTERS = 1_000_000  # of one text; whoever reads a file to an agent should cut it before
FAULTS = (Exception, SystemExit)  # a simulator may want to end the process; Ctrl-C is the user's

_Value = TypeVar("_Value")


class WorldBroke(DuomemError):
    """What a world did wrong, in one sentence; in a game it is kept with the game."""


def unfit_text(value: object) -> str | None:
    """Why something is no text that can be kept and read, as in "gave bytes that are no text"; None for one that is."""
    if value is None:
        return "gave nothing where a text belongs"
    if not isinstance(value, str):
        return f"gave {type(value).__name__} where a text belongs"
    if len(value) > MOST_CHARACTERS:
        return f"gave {len(value):,} characters, over {MOST_CHARACTERS:,}"
    try:
        _ = value.isascii() or value.encode()
    except UnicodeEncodeError:
        return "gave bytes that are no text"
    return None


def asked(name: str, ask: Callable[[], _Value]) -> _Value:
    """What the world gives under `name`. Raises WorldBroke where it raises, UsageError as it raises it."""
    try:
        return ask()
    except (WorldBroke, UsageError):
        raise
    except FAULTS as error:  # whatever a user's world raises is its own affair
        raise WorldBroke(f"The world's `{name}` raised {told(error)}.") from error


def text_of(name: str, value: object) -> str:
    """A text the world gave. Raises WorldBroke for what is none."""
    if (fault := unfit_text(value)) is not None:
        raise WorldBroke(f"The world's `{name}` {fault}.")
    return str(value)


def texts_of(name: str, value: object) -> list[str]:
    """Texts the world gave. Raises WorldBroke for what is no list of such."""
    if isinstance(value, str | bytes | Mapping):
        raise WorldBroke(f"The world's `{name}` gave {type(value).__name__} where a list of texts belongs.")
    return [text_of(name, one) for one in asked(name, lambda: list(value))]  # type: ignore[call-overload]


def refused_by(environment: Environment) -> Callable[[str], bool] | None:
    """Whether a text says that an action did nothing."""
    return _offer(environment, "refused", lambda said: asked("refused", lambda: bool(said)))


def shorten_of(environment: Environment) -> Callable[[str], str]:
    """The same facts in fewer words; the same text where the world knows no such words."""
    return _offer(environment, "shorten", lambda said: text_of("shorten", said)) or _unchanged


def normalise_of(environment: Environment) -> Callable[[str], str]:
    """An older wording of an action in today's."""
    return _offer(environment, "normalise", lambda said: text_of("normalise", said)) or _unchanged


def general_of(environment: Environment) -> Callable[[str], str]:
    """A text without what tells one thing from another of its kind, as a memory for another game is worded."""
    return _offer(environment, "general", lambda said: text_of("general", said)) or _unchanged


def advice_of(environment: Environment) -> str:
    """How a model is to word a memory; empty where the world has nothing to say of it."""
    found = asked("advice", lambda: getattr(environment, "advice", None))
    return "" if found is None else text_of("advice", found)


def describe_of(environment: Environment) -> Callable[[Any], str] | None:
    """A trajectory as prose."""
    return _offer(environment, "describe", lambda said: text_of("describe", said))


def place_of(environment: Environment) -> Callable[[str], str] | None:
    """The place of a game, by its id."""
    return _offer(environment, "place", lambda said: asked("place", lambda: str(said)))


def commands_of(environment: Environment) -> Callable[[Sequence[str]], list[str]] | None:
    """What may be said after what was told so far."""
    return _offer(environment, "commands", lambda said: texts_of("commands", said))


def seen_of(environment: Environment) -> Callable[[Sequence[str]], dict[str, list[str]]] | None:
    """Place -> what lies there, after what was told so far."""

    def places(said: Any) -> dict[str, list[str]]:
        if not isinstance(said, Mapping):
            raise WorldBroke(f"The world's `seen` gave {type(said).__name__} where places belong.")
        return {text_of("seen", place): texts_of("seen", things) for place, things in said.items()}

    return _offer(environment, "seen", places)


def cause_of(environment: Environment, strictly: bool = False) -> Callable[[Any], str | None] | None:
    """Why an episode was not won; None where the world does not know. What it does wrong is told in place of the
    cause, for the game is over by then; `strictly` it is raised."""
    ask = _offer(environment, "cause", lambda said: text_of("cause", said) if said is not None else "")
    if ask is None:
        return None

    def cause(episode: Any) -> str | None:
        try:
            return ask(episode) or None
        except WorldBroke as broke:
            if strictly:
                raise
            return broke.what.rstrip(".")

    return cause


def solutions_of(environment: Environment) -> Callable[[str], list[list[str]]]:
    """What gives the ways of winning a game that came with it, as actions, best first and at least one; nobody has
    seen them win. Raises UsageError where games come without."""

    def ways(said: Any) -> list[list[str]]:
        found = [texts_of("solutions", way) for way in asked("solutions", lambda: list(said))]
        if not found:
            raise WorldBroke("The world's `solutions` gave none.")
        return found

    known = _offer(environment, "solutions", ways)
    if known is None:
        raise UsageError(
            f"The games of {environment.name!r} come without solutions.", "Use --teacher search or remote."
        )
    return known


def finite(value: object) -> bool:
    """Whether it is a number that can be kept."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _offer(environment: Environment, name: str, read: Callable[[Any], _Value]) -> Callable[[Any], _Value] | None:
    """What asks the world for `name` and gives what `read` makes of the answer; None where the world has no such."""
    call = asked(name, lambda: getattr(environment, name, None))
    if call is None:
        return None
    return lambda given: read(asked(name, lambda: call(given)))


def _unchanged(text: str) -> str:
    return text
