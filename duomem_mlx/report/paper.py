"""The paper's own ladder, to stand beside ours: DuoMem, arXiv 2606.29961, its 4B student.

The paper gives percentages without intervals; every one of them is a whole number of 140 games, and from those the
intervals beside them are computed here.
"""

from dataclasses import dataclass

ENVIRONMENT = "household"  # whose games it plays; figures of other worlds have nothing to do with these
GAMES = 140
SOURCE = "DuoMem, arXiv 2606.29961"
DIFFERS = (
    "What differs: the paper's student is Qwen3-4B and its teacher Qwen2.5-72B; both axes are distilled from several "
    "tries at each of 3,553 training games; memories are found by a cloud encoder. It plays the 140 games of "
    "valid_seen in, as far as can be told, 30 steps. It has no row for the adapter alone and says "
    "nothing of spread; the intervals beside its figures are computed here from its games won."
)


@dataclass(frozen=True)
class Rung:
    """One row of the paper's table: its name, the games won of 140, and our arm that stands beside it."""

    name: str
    won: int
    beside: str | None


LADDER = (
    Rung("no memory", 6, "base"),
    Rung("MemP, its own memories", 77, "own-memories"),
    Rung("the teacher's memories", 79, "memories"),
    Rung("LoRA and its own memories", 101, "adapter-own-memories"),
    Rung("DuoMem: LoRA and the teacher's memories", 109, "duomem"),
    Rung("the teacher, 72B", 122, "teacher"),
)
