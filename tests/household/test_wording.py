import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.household.wording import shorten

CLASSES = st.sampled_from(["mug", "apple", "butterknife", "desklamp", "tvstand", "sinkbasin"])
NAMES = st.builds(lambda thing, number: f"{thing} {number}", CLASSES, st.integers(1, 20))
LISTS = st.lists(NAMES, min_size=1, max_size=9, unique=True)


def listing(names: list[str]) -> str:
    named = [f"a {name}" for name in names]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])}, and {named[-1]}"


def names_in(short: str) -> set[str]:
    """Every name of a short text, with the numbers and ranges after a class spread over it again."""
    found = set()
    for thing, numbers in re.findall(r"([a-z]+)((?: \d+(?:-\d+)?)+)", short):
        for span in numbers.split():
            first, _, last = span.partition("-")
            found |= {f"{thing} {number}" for number in range(int(first), int(last or first) + 1)}
    return found


@given(NAMES, LISTS)
@pytest.mark.parametrize(
    "text",
    [
        "You arrive at {r}. On the {r}, you see {things}.",
        "On the {r}, you see {things}.",
        "You open the {r}. The {r} is open. In it, you see {things}.",
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
        "{things}.\n\nYour task is to: put some mug in {r}.",
    ],
)
def test_every_name_stays_and_none_is_made_up(text: str, receptacle: str, things: list[str]) -> None:
    long = text.format(r=receptacle, things=listing(things))
    short = shorten(long)
    assert names_in(short) == names_in(long)
    assert len(short) < len(long)


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("You arrive at drawer 1. The drawer 1 is closed.", "drawer 1 closed"),
        ("You arrive at shelf 2. On the shelf 2, you see nothing.", "shelf 2: nothing"),
        ("You open the safe 1. The safe 1 is open. In it, you see nothing.", "safe 1 open: nothing"),
        ("You pick up the mug 1 from the shelf 2.", "took mug 1 from shelf 2"),
        ("You move the mug 1 to the shelf 2.", "put mug 1 on shelf 2"),
        ("You put the mug 1 in/on the shelf 2.", "put mug 1 on shelf 2"),
        ("You heat the egg 1 using the microwave 1.", "heated egg 1 with microwave 1"),
        ("You cool the egg 1 using the fridge 1.", "cooled egg 1 with fridge 1"),
        ("You clean the egg 1 using the sinkbasin 1.", "cleaned egg 1 with sinkbasin 1"),
        ("You turn on the desklamp 1.", "desklamp 1 on"),
        ("Nothing happens.", "nothing happens"),
        ("This is a hot and clean mug 1.", "This is a hot and clean mug 1."),
        ("put some mug in drawer", "put some mug in drawer"),
    ],
)
def test_the_short_form(long: str, short: str) -> None:
    assert shorten(long) == short


@given(st.text())
def test_text_of_another_world_is_never_lost(text: str) -> None:
    assert shorten(f"§{text.strip()}§").startswith("§")
