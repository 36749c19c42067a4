"""The reference: a household game played by TextWorld with ALFWorld's own wrappers.

Loading runs a planner's translator twice and takes a second or more, a step some 60 ms. The fast engine is held to
what this one says.
"""

import contextlib
import importlib.util
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.household.files import GameFile, task_of_line

INSTALL = "pip install 'duomem-mlx[alfworld]'"


class TextWorldGame:
    """One game. `snapshot` is not to be had: the state lies in the planner's library."""

    def __init__(self, file: GameFile, game_id: str, split: str) -> None:
        """Raises UsageError when the extra is not installed, DuomemError when TextWorld refuses the game."""
        self.id = game_id
        self.split = split
        self.task = task_of_line(file.task_line)
        self._environment = _load(file, game_id)
        self._state: Any = None
        self._done = False

    def reset(self) -> str:
        """Start over; the opening text."""
        with _faults_told(self.id):
            self._state = self._environment.reset()
        self._done = False
        return str(self._state.feedback)

    def step(self, action: str) -> str:
        """Act; the text that follows. After the end the last text is said again, as TextWorld's batches do."""
        if self._state is None:
            self.reset()
        if not self._done:
            with _faults_told(self.id):
                self._state, _, self._done = self._environment.step(action)
        return str(self._state.feedback)

    @property
    def done(self) -> bool:
        return self._done

    @property
    def won(self) -> bool:
        return self._state is not None and bool(self._state["won"])

    @property
    def score(self) -> float:
        return float(self.won)

    def valid_commands(self) -> list[str]:
        """What the world would accept now, sorted."""
        if self._state is None:
            self.reset()
        return list(self._state["admissible_commands"])

    def plan(self) -> list[str]:
        """The planner's way from here to the goal; [] when it finds none."""
        if self._state is None:
            self.reset()
        backend = self._environment.unwrapped
        return list(backend._pddl_state.replan(backend._entity_infos))


def installed_rules() -> tuple[str, str]:
    """Domain and grammar of the installed alfworld package, the grammar's task line empty of a task.

    Raises UsageError when the package is not installed.
    """
    found = importlib.util.find_spec("alfworld")
    if found is None or not found.submodule_search_locations:
        raise UsageError("ALFWorld's rules are not installed.", f"{INSTALL}, which brings them.")
    data = Path(found.submodule_search_locations[0]) / "data"
    return (data / "alfred.pddl").read_text(encoding="utf-8"), (data / "alfred.twl2").read_text(encoding="utf-8")


def _load(file: GameFile, game_id: str) -> Any:
    try:
        with _own_arguments():
            import textworld
            from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos
            from textworld.envs import PddlEnv
    except ImportError as error:
        raise UsageError(
            f"The TextWorld engine is not installed ({error}).", f"{INSTALL}, or use --engine fast."
        ) from None
    wanted = textworld.EnvInfos(won=True, admissible_commands=True, feedback=True)
    backend = _idle.pop() if _idle else PddlEnv(wanted)
    environment = AlfredInfos(AlfredDemangler(backend, shuffle=False))
    data = {"pddl_domain": file.domain, "grammar": file.grammar, "pddl_problem": file.problem}
    with _faults_told(game_id):
        environment.load(data)
    weakref.finalize(environment, _idle.append, backend)
    return environment


# Each backend holds a copy of the planner's library, which crashes the process when it is closed and loaded anew.
_idle: list[Any] = []


@contextlib.contextmanager
def _faults_told(game_id: str) -> Iterator[None]:
    """What TextWorld and its translator raise, and leave by, in one sentence."""
    try:
        with _own_arguments():
            yield
    except (Exception, SystemExit) as error:
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise DuomemError(f"TextWorld cannot play {game_id}: {reason}.", "Fetch or generate the game again.") from None


@contextlib.contextmanager
def _own_arguments() -> Iterator[None]:
    """The planner's translator overwrites `sys.argv`."""
    before = sys.argv
    try:
        yield
    finally:
        sys.argv = before
