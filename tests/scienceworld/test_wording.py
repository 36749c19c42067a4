import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.scienceworld.wording import shorten

KITCHEN = (
    "This room is called the kitchen. In it, you see: \n\tthe agent\n\ta substance called air\n"
    "\ta chair. On the chair is: nothing.\n"
    "\ta counter. On the counter is: a bowl (containing a red apple, a banana), a drawer.\n"
    "\ta fridge. The fridge door is closed. \n\ta glass jar (containing a substance called sodium chloride)\n"
    "\ta oven, which is turned off. The oven door is closed. \n\ta red box (containing nothing)\n"
    "\ta sink, which is turned off. In the sink is: nothing.\n\ta stopwatch, which is deactivated. \n"
    "\ta thermometer, currently reading a temperature of 10 degrees celsius\n"
    "You also see:\n\tA door to the hallway (that is open)\n\tA door to the outside (that is closed)"
)
SHORT_KITCHEN = (
    "kitchen: chair (empty); counter (bowl (red apple, banana), drawer); fridge closed; glass jar (sodium chloride); "
    "oven off closed; red box (empty); sink off (empty); stopwatch deactivated; thermometer at 10 degrees\n"
    "doors: hallway, outside closed"
)


@pytest.mark.parametrize(
    ("long", "short"),
    [
        (KITCHEN, SHORT_KITCHEN),
        (
            "Your task is to find a(n) plant. First, focus on the thing.\n" + KITCHEN,
            "task: find a(n) plant. First, focus on the thing.\n" + SHORT_KITCHEN,
        ),
        ("Your task is to turn on the red light bulb.", "task: turn on the red light bulb."),
        ("You move to the kitchen.", "at kitchen"),
        ("You move the flower pot 8 to the inventory.", "You move flower pot 8 to inventory"),
        (
            "the thermometer measures a temperature of 28 degrees celsius",
            "thermometer measures temperature of 28 degrees",
        ),
        ("No known action matches that input.", "No known action matches that input"),
    ],
)
def test_what_is_said(long: str, short: str) -> None:
    assert shorten(long) == short


NAMES = st.sampled_from(["red box", "glass cup", "baby wolf", "flower pot 3", "unknown substance B", "copper wire"])
STATES = st.sampled_from(
    [
        "{a}",
        "{a} (containing nothing)",
        "{a}, which is off",
        "{a}. On the {a} is: a {b}, a {c}.",
        "{a} (containing {b})",
    ]
)
THINGS = st.lists(st.tuples(STATES, NAMES, NAMES, NAMES), max_size=8)


@given(THINGS, st.lists(st.sampled_from(["hallway", "art studio", "outside"]), max_size=3))
def test_every_name_stays_as_often_as_it_was_said(things: list[tuple[str, str, str, str]], rooms: list[str]) -> None:
    lines = [f"\ta {state.format(a=a, b=b, c=c)}" for state, a, b, c in things]
    doors = [f"\tA door to the {room} (that is open)" for room in rooms]
    text = "\n".join(["This room is called the workshop. In it, you see: ", *lines, "You also see:", *doors])
    short = shorten(text)
    for name in ["red box", "glass cup", "baby wolf", "flower pot 3", "unknown substance B", *rooms]:
        told = text.count(name) - len(re.findall(rf"On the {name} is:", text))  # said again of the same thing
        assert short.count(name) == told
    assert len(short) < len(text)


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    assert isinstance(shorten(text), str)
