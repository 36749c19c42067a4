"""A game of a world that may do anything: what it does wrong becomes one sentence, and the game is over."""

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any, NamedTuple, TypeVar

from duomem_mlx.environment import Environment, Game, told
from duomem_mlx.errors import DuomemError
from duomem_mlx.offers import FAULTS, WorldBroke, unfit_text

GAME_HAS = ("id", "split", "task", "reset", "step")  # and, once it is begun, its verdict

_Value = TypeVar("_Value")


class Verdict(NamedTuple):
    """How a game stands."""

    done: bool
    won: bool
    score: float  # 0 to 1


class Guarded:
    """A `Game` that raises WorldBroke and nothing else, gives texts that are texts, and whose verdict is always there:
    once it broke it is over and not won, with the last score that was one. `id` is the name it was opened by, `kind`
    what the environment says of it. What else the game offers is handed through. A `reset` of a game in which nothing
    was done yet gives the same text without asking the world again, for that may be slow."""

    def __init__(self, game: Any, task_id: str, environment: Environment | None = None) -> None:
        """Raises nothing: a game that lacks something, or an exception in place of a game, is broken from the start."""
        self.id = task_id
        self.split = self.task = self.kind = ""
        self._game = game
        self._broke: WorldBroke | None = None
        self._opening: str | None = None  # while nothing was done since
        self._verdict = Verdict(False, False, 0.0)
        try:
            self._examine(game)
            kind = getattr(environment, "kind", None)
            self.kind = "" if kind is None else self._text("its `kind`", lambda: kind(task_id))
        except FAULTS as error:
            self._broke = error if isinstance(error, WorldBroke) else _raised("opening the game", error)

    def _examine(self, game: Any) -> None:
        if isinstance(game, BaseException):
            raise WorldBroke(str(game)) if isinstance(game, DuomemError) else _raised("opening the game", game)
        if missing := [name for name in GAME_HAS if not hasattr(type(game), name) and not hasattr(game, name)]:
            raise WorldBroke(f"The game lacks {', '.join(missing)}.")
        self.split = self._text("its `split`", lambda: game.split)
        self.task = self._text("its `task`", lambda: game.task)

    def reset(self) -> str:
        if self._opening is None:
            self._opening = self._text("`reset`", lambda: self._game.reset())
            self._judge()
        return self._opening

    def step(self, action: str) -> str:
        self._opening = None
        text = self._text("`step`", lambda: self._game.step(action))
        self._judge()
        return text

    def restore(self, state: object) -> None:
        """Of a game that offers it."""
        self._opening = None
        self._asked("`restore`", lambda: self._game.restore(state))
        self._judge()

    @property
    def done(self) -> bool:
        return self._broke is not None or self._verdict.done

    @property
    def won(self) -> bool:
        return self._broke is None and self._verdict.won

    @property
    def score(self) -> float:
        return self._verdict.score

    @property
    def own_id(self) -> object:
        """What the game itself says it is called."""
        return getattr(self._game, "id", None)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__dict__.get("_game"), name)
        self._opening = None  # what is asked for may change the game
        return found

    def _judge(self) -> None:
        done, won = self._asked("its verdict", lambda: (self._game.done, self._game.won))
        for name, value in (("done", done), ("won", won)):
            said = self._asked(f"its `{name}`", partial(_is_verdict, value))
            self._must(said, f"its `{name}` is {_short(value)}, neither true nor false")
        score = self._asked("its `score`", lambda: self._game.score)
        held = self._asked("its `score`", partial(_is_score, score))
        self._must(held, f"its `score` is {_short(score)}, not between 0 and 1")
        self._verdict = Verdict(bool(done), bool(won), float(score))

    def _text(self, where: str, ask: Callable[[], Any]) -> str:
        text = self._asked(where, ask)
        fault = unfit_text(text)
        self._must(fault is None, f"{where} {fault}")
        return str(text)

    def _asked(self, where: str, ask: Callable[[], _Value]) -> _Value:
        if self._broke is not None:
            raise self._broke
        try:
            return ask()
        except FAULTS as error:  # whatever a user's world raises is its own affair; the other games go on
            self._broke = _raised(where, error)
            raise self._broke from error

    def _must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self._broke = WorldBroke(f"The world broke the game off: {otherwise}.")
            raise self._broke


def open_game(environment: Environment, task_id: str) -> Guarded:
    """The environment's game, guarded; one that cannot be opened says so when it is begun."""
    try:
        game: Any = environment.open(task_id)
    except FAULTS as error:
        game = error
    return Guarded(game, task_id, environment)


def guarded(game: Game) -> Guarded:
    """A game that is open already."""
    return game if isinstance(game, Guarded) else Guarded(game, game.id)


def _raised(where: str, error: BaseException) -> WorldBroke:
    return WorldBroke(f"The world broke the game off: {where} raised {told(error)}.")


def _is_verdict(value: object) -> bool:
    return bool(value in (True, False))  # of an array of several this raises


def _is_score(value: Any) -> bool:
    """Numbers of numpy's kind are, texts are not, whatever they spell."""
    number = isinstance(value, Real) or (hasattr(value, "__float__") and not isinstance(value, str | bytes))
    return number and 0 <= float(value) <= 1  # which NaN is not


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
