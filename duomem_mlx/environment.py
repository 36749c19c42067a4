"""What every game world offers, and finding one by name."""

import hashlib
import importlib
import importlib.metadata
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from duomem_mlx.errors import DuomemError, UsageError

ENTRY_POINTS = "duomem_mlx.environments"
DEFAULT = "household"  # what is played unless a call names another
OWN_TEACHER = "search"  # an environment's own teacher, as trajectories, memories and adapters name it
OFFERED = ("name", "instructions", "tasks", "open")
SEE = "docs/environments.md says what an environment offers."
LONGEST_TOLD = 200  # characters of what an exception says


@runtime_checkable
class Game(Protocol):
    """One task being played. `step` after `done` repeats the last verdict and changes nothing."""

    id: str  # the same on every machine
    split: str
    task: str  # one sentence, as the world itself puts it

    def reset(self) -> str:
        """Start over; the opening text."""

    def step(self, action: str) -> str:
        """Act; the text that follows. What the world refuses is told in that text, never raised."""

    @property
    def done(self) -> bool: ...

    @property
    def won(self) -> bool: ...

    @property
    def score(self) -> float:
        """0 to 1; a game won counts 1."""


@runtime_checkable
class Environment(Protocol):
    """A world of games. Beyond these names it may offer `splits` (what is taught on, what is measured on, then any
    others), `kind(task_id)`, `place(task_id)`, `refused(observation)`, `cause(episode)`, `normalise(action)`,
    `shorten(text)`, `general(text)` (without what tells things of a kind apart), `commands(texts)` and `seen(texts)`
    (out of what was told so far: what may be said, and place -> what lies there), `teacher()`, `varied_teacher(seed)`,
    `solutions(task_id)`, `describe(trajectory)`, `advice` (how a model is to word a memory), `needs()` and `defaults`
    (see `defaults`), `origin` (`Origin`), `parallel_safe` (False: one game at a time) and `side_effects` (what playing
    does outside of the game, as in "writes files"); a game may offer `valid_commands()`, `snapshot()` and
    `restore(state)`. Whoever asks for one of these does it by `offers`, `own_teacher` and `defaults`."""

    name: str
    instructions: str  # how to act: the system text and the action forms

    def tasks(self, split: str) -> Sequence[str]:
        """Ids of the tasks of a split, in any order. Raises UsageError when there is no such split."""

    def open(self, task_id: str) -> Game: ...


@dataclass(frozen=True)
class Origin:
    """Where a world's games come from, as the card of a bundle tells it."""

    name: str  # as people know it
    url: str
    license: str  # of its games
    made_from: str = ""
    teacher: str = ""  # who its own teacher is, and under what licence


class Teacher(Protocol):
    """Plays from the task and the observations alone. Beyond these names it may offer `thought` (what went with its
    last action), `tokens` ({"in": …, "out": …}), `gave_up_for` (the trajectory's end when it gives up, "lost" without
    it) and `replayed_seconds` (of an attempt, spent on it in an earlier call)."""

    def begin(self, task: str, opening: str) -> None:
        """A new game; `task` is one sentence, `opening` the text that `reset` gave."""

    def act(self) -> str | None:
        """The next action, or None when it has given up."""

    def observe(self, action: str, observation: str) -> None:
        """What really was done, and what followed; `action` need not be the one `act` named."""


def find_environment(spec: str, **options: Any) -> Environment:
    """The environment `spec` names: an entry point of the group `duomem_mlx.environments`, or
    `package.module:factory`; `options` are handed to its factory. A module is looked for in the working folder too, as
    `python -m` does.

    Raises UsageError when nothing of that name exists, its factory takes no such option, or what it gives back is no
    environment.
    """
    factory = _factory(spec)
    try:
        found = factory(**options)
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise UsageError(f"The environment {spec!r} does not take these options: {error}.") from None
        raise _not_made(spec, error) from error
    except DuomemError:
        raise
    except Exception as error:  # a user's factory may raise anything
        raise _not_made(spec, error) from error
    if missing := [name for name in OFFERED if not hasattr(found, name)]:
        raise UsageError(f"{spec!r} gives no environment: {', '.join(missing)} is missing.", SEE)
    for name in ("name", "instructions"):  # every trajectory carries the one, every prompt the other
        if not isinstance(getattr(found, name), str):
            raise UsageError(f"{spec!r} gives no environment: its `{name}` is no text.", SEE)
    return found


def installed_environments() -> dict[str, importlib.metadata.EntryPoint]:
    """Name -> entry point, of the environments that installed packages offer."""
    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return {point.name: point for point in sorted(points, key=lambda point: point.name)}


def _factory(spec: str) -> Callable[..., Environment]:
    points = installed_environments()
    module, _, attribute = spec.partition(":")
    if spec not in points and not (module and attribute):
        raise UsageError(
            f"There is no environment {spec!r} (installed: {', '.join(points) or 'none'}).",
            "Name one of these, or package.module:factory.",
        )
    if "" not in sys.path:
        sys.path.append("")  # a script that pip made does not look where it was called
    try:
        factory: Callable[..., Environment]
        factory = points[spec].load() if spec in points else getattr(importlib.import_module(module), attribute)
    except DuomemError:
        raise
    except Exception as error:  # a user's module may raise anything while it is imported
        raise UsageError(
            f"The environment {spec!r} cannot be loaded: {told(error)}.", "Check the name and the folder."
        ) from error
    return factory


def told(error: BaseException) -> str:
    """An exception on one line that can be printed and kept: its kind, and of its first line what is not too long."""
    said = str(error).strip().splitlines()
    if not said:
        return type(error).__name__
    line = said[0].encode(errors="backslashreplace").decode().rstrip(".")
    return f"{type(error).__name__}: {line if len(line) <= LONGEST_TOLD else line[:LONGEST_TOLD] + '…'}"


def _not_made(spec: str, error: Exception) -> DuomemError:
    return DuomemError(f"The environment {spec!r} cannot be made: {told(error)}.", "Mend its factory.")


def ordered(environment: Environment, split: str, limit: int | None = None) -> list[str]:
    """Task ids of a split in the one order all commands use, cut to the first `limit`.

    Raises UsageError when the split has no name or holds no task.
    """
    if not split.strip():
        raise UsageError("--games is blank.", "Name a split, a folder or a game.")
    tasks = stratified([(task_id, _sorted_under(environment, task_id)) for task_id in listed(environment, split)])
    if not tasks:
        known = ", ".join(splits_of(environment))
        fix = f"{environment.name} has {known}." if known else "`duomem-mlx envs check` says what there is."
        raise UsageError(f"{split!r} holds no games.", fix)
    return tasks[:limit]


def listed(environment: Environment, split: str) -> Sequence[str]:
    """Task ids of a split as the environment lists them. Raises DuomemError when it raises, or what it gives is no
    list of ids that a file may be named by."""
    try:
        ids = list(environment.tasks(split))
    except DuomemError:
        raise
    except Exception as error:  # a user's world may raise anything
        raise DuomemError(f"{environment.name} cannot list {split!r}: {told(error)}.", "Mend its `tasks`.") from error
    for task_id in ids:
        if (fault := unfit_id(task_id)) is not None:
            raise DuomemError(f"{environment.name} has a task {task_id!r:.80} that {fault}.", "Mend its `tasks`.")
    return ids


def _sorted_under(environment: Environment, task_id: str) -> str:
    """The kind of a task; that a world cannot say it is told with its game, see `guarded`."""
    try:
        return str(getattr(environment, "kind", lambda task_id: "")(task_id))
    except Exception:
        return ""


def splits_of(environment: Environment) -> tuple[str, ...]:
    """The names of its splits; none where it names none. Raises DuomemError where it names them otherwise."""
    found = getattr(environment, "splits", None)
    if found is None:
        return ()
    if not isinstance(found, list | tuple) or not all(isinstance(split, str) for split in found):
        raise DuomemError(f"The `splits` of {environment.name} are {found!r:.80}, no list of names.", "Mend them.")
    return tuple(found)


def unfit_id(task_id: object) -> str | None:
    """Why a task cannot be called so; None where it can. An episode's file is named by it."""
    if not isinstance(task_id, str):
        return "is no text"
    if not task_id.strip() or not task_id.isprintable():
        return "is not one line of text"
    if task_id.startswith("."):
        return "begins with a dot"
    return "is longer than 200 bytes" if len(task_id.encode()) > 200 else None


def parallel_safe(environment: Environment) -> bool:
    """Whether several of its games may be played at once. One that touches what is outside of its games says no."""
    return bool(getattr(environment, "parallel_safe", True)) and side_effects_of(environment) is None


def side_effects_of(environment: Environment) -> str | None:
    """What playing does outside of the game, in its own words; None where it does nothing."""
    return getattr(environment, "side_effects", None) or None


def origin_of(name: str) -> Origin | None:
    """Of an installed world; None for one that does not say, or is not installed here."""
    if name not in installed_environments():
        return None
    try:
        return getattr(find_environment(name), "origin", None)
    except DuomemError:
        return None


def stratified(tasks: Iterable[tuple[str, str]]) -> list[str]:
    """Ids out of (id, kind) pairs, such that every prefix holds the kinds in their proportion.

    Within a kind the order is that of a hash of the id; the j-th of n tasks of a kind stands at (j + ½) / n.
    """
    kinds: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for task_id, kind in tasks:
        kinds[kind].append((hashlib.sha256(task_id.encode()).hexdigest(), task_id))
    placed = [
        ((place + 0.5) / len(members), digest, task_id)
        for members in kinds.values()
        for place, (digest, task_id) in enumerate(sorted(members))
    ]
    return [task_id for _, _, task_id in sorted(placed)]
