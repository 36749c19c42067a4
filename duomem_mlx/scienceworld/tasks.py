"""ScienceWorld's tasks and their variations, by name: what is listed needs neither the package nor Java."""

import re
from collections.abc import Iterator

from duomem_mlx.errors import UsageError

SPLITS = ("train", "dev", "test")
ALL, SHORT = "all", "short"

# Variations of a task in train, dev and test, numbered through in that order: scienceworld 1.2.3, `getVariationsTrain`
# and its fellows.
SIZES: dict[str, tuple[int, int, int]] = {
    "boil": (14, 7, 9),
    "melt": (14, 7, 9),
    "freeze": (14, 7, 9),
    "change-the-state-of-matter-of": (14, 7, 9),
    "use-thermometer": (270, 135, 135),
    "measure-melting-point-known-substance": (218, 109, 109),
    "measure-melting-point-unknown-substance": (150, 75, 75),
    "power-component": (10, 5, 5),
    "power-component-renewable-vs-nonrenewable-energy": (10, 5, 5),
    "test-conductivity": (450, 225, 225),
    "test-conductivity-of-unknown-substances": (300, 150, 150),
    "find-living-thing": (150, 75, 75),
    "find-non-living-thing": (150, 75, 75),
    "find-plant": (150, 75, 75),
    "find-animal": (150, 75, 75),
    "grow-plant": (62, 31, 33),
    "grow-fruit": (62, 31, 33),
    "chemistry-mix": (16, 8, 8),
    "chemistry-mix-paint-secondary-color": (18, 9, 9),
    "chemistry-mix-paint-tertiary-color": (18, 9, 9),
    "lifespan-longest-lived": (62, 31, 32),
    "lifespan-shortest-lived": (62, 31, 32),
    "lifespan-longest-lived-then-shortest-lived": (62, 31, 32),
    "identify-life-stages-1": (6, 3, 5),
    "identify-life-stages-2": (4, 2, 4),
    "inclined-plane-determine-angle": (84, 42, 42),
    "inclined-plane-friction-named-surfaces": (692, 346, 348),
    "inclined-plane-friction-unnamed-surfaces": (80, 40, 42),
    "mendelian-genetics-known-plant": (60, 30, 30),
    "mendelian-genetics-unknown-plant": (240, 120, 120),
}

_NUMBER = re.compile(r"0|[1-9]\d{0,5}")


def ids_of(spec: str) -> list[str]:
    """Ids of `SPLIT[:TASKS[:N]]`: TASKS are names with commas between, `short` or `all`; N is how many variations of
    each task at most, spread evenly over the split.

    Raises UsageError that says what is wrong.
    """
    split, *rest = spec.split(":")
    if split in SIZES or "/" in split:
        task, variation = task_and_variation(spec)
        return [f"{task}/{variation}"]
    if split not in SPLITS or len(rest) > 2:
        raise UsageError(
            f"There are no ScienceWorld games {spec!r}.",
            f"Write SPLIT[:TASKS[:N]], SPLIT one of {', '.join(SPLITS)}; TASKS short, all or names; or TASK/VARIATION.",
        )
    most = rest[1] if len(rest) == 2 else "999999"
    if not _NUMBER.fullmatch(most) or most == "0":
        raise UsageError(f"{most!r} in {spec!r} is no number of variations.", "Write a whole number from 1 on.")
    return [
        f"{task}/{variation}"
        for task in _named(rest[0] if rest else ALL)
        for variation in _spread(variations(task, split), int(most))
    ]


def variations(task: str, split: str) -> range:
    """The numbers of a task's variations in a split."""
    place = SPLITS.index(split)
    begin = sum(SIZES[task][:place])
    return range(begin, begin + SIZES[task][place])


def task_and_variation(task_id: str) -> tuple[str, int]:
    """Of `TASK/VARIATION`. Raises UsageError when there is no such game."""
    task, _, number = task_id.partition("/")
    if task not in SIZES:
        raise UsageError(f"There is no ScienceWorld task {task!r}.", f"Use one of {', '.join(SIZES)}.")
    if not _NUMBER.fullmatch(number) or int(number) >= sum(SIZES[task]):
        raise UsageError(f"{task} has no variation {number!r}.", f"Name one of 0 to {sum(SIZES[task]) - 1}.")
    return task, int(number)


def split_of(task: str, variation: int) -> str:
    return next(split for split in SPLITS if variation in variations(task, split))


def _named(names: str) -> Iterator[str]:
    if names in (ALL, ""):
        yield from SIZES
        return
    for name in SHORT_TASKS if names == SHORT else dict.fromkeys(names.split(",")):
        if name not in SIZES:
            raise UsageError(f"There is no ScienceWorld task {name!r}.", f"Use one of {', '.join(SIZES)}.")
        yield name


def _spread(numbers: range, most: int) -> list[int]:
    """At most so many of them, evenly: neighbours are alike, for the last thing that varies varies fastest."""
    count = min(most, len(numbers))
    return [numbers[place * len(numbers) // count] for place in range(count)]


# Those whose gold path, without doors that are open already, takes 25 actions or fewer in the mean of training games.
SHORT_TASKS = (
    "find-living-thing",
    "find-non-living-thing",
    "find-plant",
    "find-animal",
    "lifespan-longest-lived",
    "lifespan-shortest-lived",
    "lifespan-longest-lived-then-shortest-lived",
    "chemistry-mix-paint-secondary-color",
    "power-component",
    "use-thermometer",
    "test-conductivity",
    "test-conductivity-of-unknown-substances",
)
