"""One thing that was looked at, and how it is told."""

from collections.abc import Callable
from dataclasses import dataclass

from duomem_mlx.errors import DuomemError

OK, WARN, FAIL, ABSENT = "ok", "warn", "fail", "absent"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: str  # OK; ABSENT and not needed; WARN: some of the program will not work, or slowly; FAIL: most will not
    found: str
    fix: str = ""


def safely(name: str, look: Callable[[], Check | list[Check]]) -> list[Check]:
    """What a look found; one that breaks is itself a fault."""
    try:
        found = look()
    except DuomemError as error:
        return [Check(name, FAIL, error.what, error.fix)]
    except Exception as error:  # whatever is broken here is what the doctor is asked about
        text = (str(error).strip() or "no reason given").splitlines()[0]
        return [Check(name, FAIL, f"{type(error).__name__}: {text}", "Install duomem-mlx again in a new environment.")]
    return found if isinstance(found, list) else [found]
