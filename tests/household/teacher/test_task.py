import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.household.teacher.task import Goal, read_task

# Every wording in ALFWorld's games.
WORDINGS = [
    ("look at alarmclock under the desklamp", Goal("alarmclock", lamp="desklamp")),
    ("examine the book with the floorlamp", Goal("book", lamp="floorlamp")),
    ("put some box on dresser", Goal("box", place="dresser")),
    ("put a pen in drawer", Goal("pen", place="drawer")),
    ("clean some lettuce and put it in fridge", Goal("lettuce", treatment="clean", place="fridge")),
    ("put a clean cloth in bathtubbasin", Goal("cloth", treatment="clean", place="bathtubbasin")),
    ("heat some egg and put it in diningtable", Goal("egg", treatment="heat", place="diningtable")),
    ("put a hot mug in cabinet", Goal("mug", treatment="heat", place="cabinet")),
    ("cool some pan and put it in countertop", Goal("pan", treatment="cool", place="countertop")),
    ("put a cool tomato in microwave", Goal("tomato", treatment="cool", place="microwave")),
    ("put two soapbar in garbagecan", Goal("soapbar", count=2, place="garbagecan")),
    ("find two pillow and put them in sofa", Goal("pillow", count=2, place="sofa")),
]


@pytest.mark.parametrize(("sentence", "goal"), WORDINGS)
def test_every_wording_is_read(sentence: str, goal: Goal) -> None:
    assert read_task(sentence) == goal
    assert read_task(f"  {sentence.capitalize()}. ") == goal


@given(st.sampled_from(WORDINGS), st.from_regex(r"[a-z]{3,12}", fullmatch=True))
def test_any_class_of_things_is_read(wording: tuple[str, Goal], thing: str) -> None:
    sentence, goal = wording
    found = read_task(re.sub(rf"\b{goal.thing}\b", thing, sentence))
    assert found is not None
    assert (found.thing, found.place, found.lamp, found.count) == (thing, goal.place, goal.lamp, goal.count)


@given(st.text())
def test_another_sentence_is_none_it_knows(sentence: str) -> None:
    assert read_task(sentence) is None


@pytest.mark.parametrize("sentence", ["", "put", "put some mug", "wash the dishes", "put two mugs on the desk twice"])
def test_half_a_wording_is_none(sentence: str) -> None:
    assert read_task(sentence) is None


def test_the_goal_of_every_training_game_is_read(alfworld_data: Path) -> None:
    """The folder's name, which only this test reads, says what was meant."""
    treatments = {"pick_clean": "clean", "pick_heat_": "heat", "pick_cool_": "cool"}
    games = sorted((alfworld_data / "json_2.1.1" / "train").glob("*/*/game.tw-pddl"))
    if not games:
        pytest.skip("no training games among ALFWorld's data")
    for file in games:
        kind, thing, _, place, _ = file.parent.parent.name.lower().rsplit("-", 4)
        sentence = re.search(r"Your task is to: ([^\"\\]*)\.", file.read_text())
        assert sentence is not None
        lit = kind.startswith("look")
        wanted = Goal(
            thing,
            count=2 if kind.startswith("pick_two") else 1,
            treatment=treatments.get(kind[:10]),
            place=None if lit else place,
            lamp=place if lit else None,
        )
        assert read_task(sentence[1]) == wanted, sentence[1]
