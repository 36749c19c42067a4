"""What a problem says becomes the world, and what is no such problem is refused."""

import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.errors import DuomemError
from duomem_mlx.household.reader import LARGEST, goal_text, read_problem
from tests.household.fuzz_reader import originals, survives
from tests.household.rooms import PROBLEM, know_these_rules, without_textworld


def test_names_are_numbered_backwards_in_the_order_of_the_ids() -> None:
    world = read_problem(PROBLEM)

    assert sorted(world.place_named) == ["drawer 1", "drawer 2", "fridge 1", "shelf 1", "sinkbasin 1"]
    assert [world.names[place] for place in world.location_of] == [
        "drawer 2",
        "drawer 1",
        "fridge 1",
        "shelf 1",
        "sinkbasin 1",
    ]
    assert "loc 1" in world.names
    assert "loc 1" not in world.thing_named
    first = world.thing_named["pen 2"]
    assert world.thing_type[first] == "pentype"
    assert world.start.contents[world.place_named["drawer 2"]] == (first,)


def test_the_goal_holds_what_would_do() -> None:
    goal = read_problem(PROBLEM).goal
    world = read_problem(PROBLEM)

    assert goal.kind == "pick_two_obj_and_place"
    assert goal.things == {world.thing_named["pen 1"], world.thing_named["pen 2"]}
    assert goal.places == {world.place_named["drawer 1"], world.place_named["drawer 2"]}
    assert (goal.count, goal.treatment, goal.lamps) == (2, "", frozenset())


def test_a_goal_of_state_counts_only_what_can_get_there() -> None:
    cleaned = goal_text("pick_clean_then_place_in_recep", "PenType", "DrawerType")
    world = read_problem(_with_goal(cleaned))

    assert world.goal.treatment == "clean"
    assert world.goal.things == frozenset()  # no pen can be cleaned


@given(st.randoms(use_true_random=False))
def test_the_order_of_facts_and_objects_means_nothing(chance: random.Random) -> None:
    head, objects, middle, facts, tail = re.split(r"(?<=\(:objects\n)|(?=        \)\n)|(?<=\(:init\n)", PROBLEM)[:5]
    rest = PROBLEM[len(head + objects + middle + facts) :]

    assert head + objects + middle + facts + rest == PROBLEM
    assert tail.strip().startswith(")")
    lines = facts.splitlines(keepends=True)
    table = [line for line in lines if "canContain" in line]
    others = [line for line in lines if "canContain" not in line]
    declared = objects.splitlines(keepends=True)
    for part in (table, others, declared):
        chance.shuffle(part)
    at = chance.randrange(len(others))

    shuffled = head + "".join(declared) + middle + "".join([*others[:at], *table, *others[at:]]) + rest
    assert read_problem(shuffled) == read_problem(PROBLEM)


def test_white_space_and_capitals_mean_nothing_between_facts() -> None:
    spread = PROBLEM.replace("\n", "\r\n\t ").upper()
    assert read_problem(spread) == read_problem(PROBLEM)


def _with_goal(goal: str) -> str:
    return f"{PROBLEM[: PROBLEM.index('(:goal')]}{goal}\n)\n"


def _replaced(old: str, new: str) -> str:
    assert old in PROBLEM
    return PROBLEM.replace(old, new, 1)


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("", "no problem of the domain"),
        ("nonsense", "no problem of the domain"),
        (_replaced("alfred", "logistics"), "no problem of the domain"),
        (PROBLEM[:900], "objects are torn"),
        (PROBLEM[:2500], "something among its facts"),
        (PROBLEM[:-3], "goal"),
        (PROBLEM + "(", "goal"),
        (_replaced("(canContain DrawerType PenType)", "(canContain DrawerType PenType"), "something among its facts"),
        (_replaced("(openable Drawer_bar__plus_01_dot_00)", "openable Drawer"), "something among its facts"),
        (_replaced("(openable Drawer_bar__plus_01_dot_00)", "(= (total-cost) 0)"), "something among its facts"),
        (_replaced("(openable Drawer_bar__plus_01_dot_00)", "(locked Drawer_bar__plus_01_dot_00)"), "'locked'"),
        (_replaced("(openable Drawer_bar__plus_01_dot_00)", "(openable Pen_bar__plus_00_dot_10)"), "'openable'"),
        (_replaced("(openable Drawer_bar__plus_01_dot_00)", "(openable Window_bar_1)"), "'openable'"),
        (_replaced("(openable Drawer_bar__plus_01_dot_00)", "(openable)"), "something among its facts"),
        (
            _replaced("(openable Drawer_bar__plus_01_dot_00)", "(openable Drawer_bar__plus_01_dot_00 agent1)"),
            "'openable'",
        ),
        (_replaced("(atLocation agent1 loc_bar_0)", ""), "no agent"),
        (_replaced("(atLocation agent1 loc_bar_0)", "(atLocation agent1 loc_bar_0) (atLocation agent1 loc_bar_1)"),
         "twice"),
        (_replaced("(receptacleType Shelf_bar__plus_03_dot_00 ShelfType)", ""), "no type or no location"),
        (
            _replaced("(receptacleAtLocation Shelf_bar__plus_03_dot_00 loc_bar_1)", ""),
            "no type or no location",
        ),
        (_replaced("Pen_bar__plus_00_dot_10 - object", "Pen_bar__plus_00_dot_10 - receptacle"), "does not say"),
        (_replaced("        PenType - otype", "        PenType MugType - otype"), "declared one by one"),
        (_replaced("        PenType - otype", "        agent1 - otype"), "two types"),
        (PROBLEM.replace("Pen_bar_", "Pen_"), "no name of a thing"),
        (PROBLEM.replace("Pen_bar__", "Pen_Ultimate_bar__"), "no name of a thing"),
        (PROBLEM.replace("Pen_bar__", f"Pen_bar_{'x' * 300}"), "no name of a thing"),
        (PROBLEM.replace("Pen_bar__", f"{'Pen' * 20_000}_bar__"), "no name of a thing"),
        (_replaced("small", "sm\x07ll"), "characters"),
        (_replaced("small", "smäll"), "characters"),
        (_replaced("small", "sm\ud800ll"), "characters"),
        (_with_goal("(:goal (and))"), "none of ALFWorld's six"),
        (_with_goal("(:goal (not (openable ?r)))"), "none of ALFWorld's six"),
        (_with_goal(goal_text("pick_two_obj_and_place", "PenType", "DrawerType") + "(:metric x)"), "six"),
        (
            _with_goal(goal_text("pick_two_obj_and_place", "PenType", "DrawerType").replace("PenType", "MugType", 1)),
            "none of ALFWorld's six",
        ),
    ],
)  # fmt: skip
def test_a_problem_that_is_not_alfworlds_is_refused_by_name(problem: str, words: str) -> None:
    with pytest.raises(DuomemError, match=words):
        read_problem(problem)


@pytest.mark.parametrize(
    "problem",
    [
        "(" * 1_000_000,
        PROBLEM.replace("(:goal", "(" * 900_000 + "(:goal"),
        PROBLEM.replace("(and", "(and " * 200_000),
        PROBLEM.replace("Pen_bar__plus", f"Pen_bar__{'plus' * 100_000}"),
        PROBLEM.replace("        ", " " * 10_000)[:-3],
        PROBLEM.replace("(openable", "(openable " + "x " * 400_000, 1),
        PROBLEM.replace("(openable", f"(openable{' ' * 900_000}", 1),
        "x" * (LARGEST + 1),
    ],
)  # fmt: skip
def test_a_hostile_problem_is_refused_within_a_second(problem: str) -> None:
    begin = time.process_time()
    with pytest.raises(DuomemError):
        read_problem(problem)
    assert time.process_time() - begin < 1


def test_damaged_files_are_played_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    know_these_rules(monkeypatch)
    without_textworld(monkeypatch)
    games = originals()
    outcomes = {survives(games[seed % len(games)], random.Random(seed), tmp_path) for seed in range(300)}
    assert outcomes == {"played", "refused"}
