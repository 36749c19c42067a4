import re

import pytest

from duomem_mlx.household.teacher.script import LONGEST_WORDS, describe
from duomem_mlx.trajectory import Step, Trajectory

OPENING = "You are in the middle of a room. Looking quickly around you, you see {}.\n\nYour task is to: {}."


def played(task: str, places: str, *turns: tuple[str, str]) -> Trajectory:
    listed = ", ".join(f"a {place}" for place in places.split(", "))
    return Trajectory(
        environment="household",
        game="a/b",
        split="train",
        kind="",
        task=task,
        opening=OPENING.format(listed, task),
        steps=tuple(Step(action, observation) for action, observation in turns),
        won=True,
        score=1.0,
        end="won",
        teacher={"kind": "search"},
        seconds=0.1,
    )


MUG_ON_DESK = (
    ("go to desk 2", "You arrive at desk 2. On the desk 2, you see a desklamp 1, and a mug 3."),
    ("take mug 3 from desk 2", "You pick up the mug 3 from the desk 2."),
)
KITCHEN = "cabinet 2, cabinet 1, countertop 1, desk 2, desk 1, fridge 1, microwave 1, shelf 1, sinkbasin 1"

GOLDEN = [
    (
        "put some mug on shelf",
        "Look for a mug on the desk first, then the countertop or fridge, opening what is closed. "
        "Take it, go to the shelf and put it there.",
    ),
    (
        "put a hot mug in cabinet",
        "Look for a mug on the desk first, then the countertop or fridge, opening what is closed. Take it, go to the "
        "microwave and heat it, then go to the cabinet, open it if it is closed, and put it there.",
    ),
    (
        "put two mug in shelf",
        "Look for a mug on the desk first, then the countertop or fridge, opening what is closed. "
        "Take it, go to the shelf and put it there; then find another mug and put it in the same shelf.",
    ),
    (
        "examine the mug with the desklamp",
        "Look for a mug on the desk first, then the countertop or fridge, opening what is closed. "
        "Take it, find the desklamp, often on the desk, and use the desklamp there.",
    ),
]


@pytest.mark.parametrize(("task", "script"), GOLDEN)
def test_it_says_where_to_look_and_what_to_do(task: str, script: str) -> None:
    lit = (("use desklamp 1", "You turn on the desklamp 1."),) if "lamp" in task else ()
    assert describe(played(task, KITCHEN, *MUG_ON_DESK, *lit)) == script


@pytest.mark.parametrize(("task", "_"), GOLDEN)
def test_it_is_short_and_names_no_instance(task: str, _: str) -> None:
    script = describe(played(task, KITCHEN, *MUG_ON_DESK))
    assert len(script.split()) <= LONGEST_WORDS
    assert not re.search(r"\d", script)


def test_where_the_thing_was_found_comes_first() -> None:
    on_shelf = (
        ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a mug 1."),
        ("take mug 1 from shelf 1", "You pick up the mug 1 from the shelf 1."),
    )
    assert describe(played("put some mug on desk", KITCHEN, *on_shelf)).startswith("Look for a mug on the shelf first")


def test_a_task_of_another_wording_gets_its_actions() -> None:
    script = describe(played("bring me something to drink", KITCHEN, *MUG_ON_DESK))
    assert script == "Go to desk, then take mug from desk."


def test_a_game_without_steps_is_no_trouble() -> None:
    assert describe(played("put some mug on shelf", KITCHEN))
    assert describe(played("do as you please", KITCHEN)) == ""
