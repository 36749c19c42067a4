"""A game of a world that may do anything: what it does wrong becomes one sentence, and the game is over."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from duomem_mlx.environment import Environment, Game, told
from duomem_mlx.errors import DuomemError

MOST_CHARACTERS = 1_000_000  # of one text; whoever reads a file to an agent should cut it before
FAULTS = (Exception, SystemExit)  # a simulator may want to end the process; Ctrl-C is the user's
GAME_HAS = ("id", "split", "task", "reset", "step")  # and, once it is begun, its verdict

_Value = TypeVar("_Value")


class WorldBroke(DuomemError):
    """What a world did wrong in a game, in one sentence that is kept with the game."""


class Guarded:
    """A `Game` that raises WorldBroke and nothing else, gives texts that are texts, and whose verdict is always there:
    once it broke it is over and not won, with the last score that was one. `id` is the name it was opened by. What
    else the game offers is handed through. A `reset` of a game in which nothing was done yet gives the same text
    without asking the world again, for that may be slow."""

    def __init__(self, game: Any, task_id: str) -> None:
        """Raises nothing: a game that lacks something, or an exception in place of a game, is broken from the start."""
        self.id = task_id
        self.split = self.task = ""
        self._game = game
        self._broke: WorldBroke | None = None
        self._opening: str | None = None  # while nothing was done since
        self._score = 0.0
        try:
            self._examine(game)
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

    @property
    def done(self) -> bool:
        return self._broke is not None or bool(self._game.done)

    @property
    def won(self) -> bool:
        return self._broke is None and bool(self._game.won)

    @property
    def score(self) -> float:
        return self._score if self._broke else float(self._game.score)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__dict__.get("_game"), name)
        self._opening = None  # it may be `restore`
        return found

    def _judge(self) -> None:
        done, won = self._asked("its verdict", lambda: (self._game.done, self._game.won))
        for name, value in (("done", done), ("won", won)):
            said = self._asked(f"its `{name}`", partial(_is_verdict, value))
            self._must(said, f"its `{name}` is {_short(value)}, neither true nor false")
        score = self._asked("its `score`", lambda: float(self._game.score))
        self._must(math.isfinite(score) and 0 <= score <= 1, f"its `score` is {score}, not between 0 and 1")
        self._score = score

    def _text(self, where: str, ask: Callable[[], Any]) -> str:
        text = self._asked(where, ask)
        self._must(text is not None, f"{where} gave nothing where a text belongs")
        self._must(isinstance(text, str), f"{where} gave {type(text).__name__} where a text belongs")
        self._must(len(text) <= MOST_CHARACTERS, f"{where} gave {len(text):,} characters, over {MOST_CHARACTERS:,}")
        self._must(_is_unicode(text), f"{where} gave bytes that are no text")
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


def open_game(environment: Environment, task_id: str) -> Game:
    """The environment's game, guarded; one that cannot be opened says so when it is begun."""
    try:
        game: Any = environment.open(task_id)
    except FAULTS as error:
        game = error
    return Guarded(game, task_id)


def guarded(game: Game) -> Game:
    """A game that is open already."""
    return game if isinstance(game, Guarded) else Guarded(game, game.id)


def _raised(where: str, error: BaseException) -> WorldBroke:
    return WorldBroke(f"The world broke the game off: {where} raised {told(error)}.")


def _is_verdict(value: object) -> bool:
    return bool(value in (True, False))  # of an array of several this raises


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
