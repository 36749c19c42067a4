"""What a world settles for the rest of the program: what commands do in it where a call does not say, and what it
needs of a machine."""

from dataclasses import dataclass

from duomem_mlx.environment import Environment, splits_of
from duomem_mlx.errors import UsageError

TRAIN = "train"
MAX_STEPS = 30  # actions a game, where neither the call nor the world says


@dataclass(frozen=True)
class Defaults:
    """What commands do in a world where a call does not say otherwise; a world offers it as `defaults`. Without a name
    there is none."""

    max_steps: int = MAX_STEPS  # actions a game
    adapter: str = ""  # the shipped one that was taught in it
    memories: str = ""  # the shipped bank that was made in it
    first: str = ""  # games that `run` and `demo` play, as --games names them
    many: str = ""  # games enough that are at hand on every machine: for `bench`, `fuse --check`, `doctor --selftest`


@dataclass(frozen=True)
class Need:
    """One thing that a world needs of a machine, as it was found; a world offers all of them as `needs()`."""

    name: str
    met: bool
    found: str
    fix: str = ""  # what to do where it is not met


def defaults_of(environment: Environment) -> Defaults:
    found = getattr(environment, "defaults", None)
    return found if isinstance(found, Defaults) else Defaults()


def taught_on(environment: Environment) -> str:
    """The split that is taught on: the first, in a world that names none `train`."""
    return (*splits_of(environment), TRAIN)[0]


def measured_on(environment: Environment) -> str:
    """The split that is measured on: the second, in a world of one that one. Raises UsageError for a world that names
    none."""
    if splits := splits_of(environment):
        return splits[:2][-1]
    raise UsageError(f"{environment.name} names no splits.", "Name games with --games, or offer `splits`.")


def first_games(environment: Environment) -> str:
    """Games to play before anything was chosen. Raises UsageError as `measured_on` does."""
    return defaults_of(environment).first or measured_on(environment)


def many_games(environment: Environment) -> str:
    """Games that are at hand on every machine. Raises UsageError as `measured_on` does."""
    return defaults_of(environment).many or measured_on(environment)
