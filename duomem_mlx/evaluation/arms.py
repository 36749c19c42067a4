"""The arms of an evaluation: which of the two axes the student is given."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from duomem_mlx.errors import UsageError

MemorySource = Literal["none", "bank", "random", "own"]  # own: of the student's own successes


@dataclass(frozen=True)
class Arm:
    """One row of the table."""

    name: str
    adapter: bool  # the parameter axis
    memories: MemorySource  # the context axis

    def label(self, k: int, default_k: int) -> str:
        """Its folder and its row: the name, with `.kN` where it is not the run's first k."""
        return self.name if k == default_k or self.memories == "none" else f"{self.name}.k{k}"


ARMS = {
    arm.name: arm
    for arm in (
        Arm("base", adapter=False, memories="none"),
        Arm("own-memories", adapter=False, memories="own"),
        Arm("memories", adapter=False, memories="bank"),
        Arm("random-memories", adapter=False, memories="random"),
        Arm("adapter", adapter=True, memories="none"),
        Arm("adapter-own-memories", adapter=True, memories="own"),
        Arm("duomem", adapter=True, memories="bank"),
    )
}
DEFAULT_ARMS = ("base", "memories", "adapter", "duomem")
OWN_ARMS = ("own-memories", "adapter-own-memories")
TEACHER = "teacher"


def name_and_k(label: str, default_k: int) -> tuple[str, int]:
    """What `Arm.label` was made of; an arm without memories has `default_k` too."""
    name, mark, k = label.rpartition(".k")
    return (name, int(k)) if mark and k.isdecimal() else (label, default_k)


def shows_bank(labels: Iterable[str]) -> bool:
    """Whether any of these arms shows memories of the bank that an evaluation names."""
    names = (name_and_k(label, 0)[0] for label in labels)
    return any(ARMS[name].memories in ("bank", "random") for name in names if name in ARMS)


def arm_named(name: str) -> Arm:
    """Raises UsageError for a name that is not an arm."""
    try:
        return ARMS[name]
    except KeyError:
        raise UsageError(f"There is no arm {name!r}.", f"Use one of {', '.join(ARMS)}.") from None
