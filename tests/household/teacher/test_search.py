"""Dialogues: what the teacher is told, and what it must do next."""

import pytest

from duomem_mlx.household.teacher.places import Places, observed_places
from duomem_mlx.household.teacher.search import SearchTeacher
from duomem_mlx.household.teacher.seen import REFUSED

# Mugs are mostly on desks, sometimes in cabinets; every cabinet closes.
COUNTS = Places(
    closed={"cabinet": (10, 10), "drawer": (5, 10), "microwave": (10, 10), "fridge": (10, 10)},
    held={
        "mug": {
            "desk": (50, 100),
            "cabinet": (20, 100),
            "shelf": (1, 100),
            "microwave": (5, 100),
            "sinkbasin": (5, 100),
        },
        "pen": {"shelf": (30, 100)},
        "desklamp": {"shelf": (5, 100), "desk": (40, 100)},
    },
)


def begin(task: str, places: str) -> SearchTeacher:
    teacher = SearchTeacher(COUNTS)
    listed = ", ".join(f"a {place}" for place in places.split(", "))
    teacher.begin(task, f"You are in the middle of a room. Looking quickly around you, you see {listed}.")
    return teacher


def dialogue(teacher: SearchTeacher, *turns: tuple[str, str]) -> SearchTeacher:
    for action, observation in turns:
        assert teacher.act() == action
        teacher.observe(action, observation)
    return teacher


def on(place: str, things: str = "nothing") -> str:
    return f"You arrive at {place}. On the {place}, you see {things}."


def closed(place: str) -> str:
    return f"You arrive at {place}. The {place} is closed."


def opened(place: str, things: str = "nothing") -> str:
    return f"You open the {place}. The {place} is open. In it, you see {things}."


def taken(thing: str, place: str) -> str:
    return f"You pick up the {thing} from the {place}."


def test_it_looks_in_the_likeliest_place_first_and_numbers_rise() -> None:
    teacher = begin("put some mug on shelf", "desk 2, desk 1, cabinet 1, shelf 1")
    dialogue(
        teacher,
        ("go to desk 1", on("desk 1")),
        ("go to desk 2", on("desk 2", "a pen 1")),
        ("go to cabinet 1", closed("cabinet 1")),
        ("open cabinet 1", opened("cabinet 1", "a mug 2, and a mug 1")),
        ("take mug 1 from cabinet 1", taken("mug 1", "cabinet 1")),
        ("go to shelf 1", on("shelf 1")),
        ("move mug 1 to shelf 1", "You move the mug 1 to the shelf 1."),
    )


def test_the_steps_it_takes_to_look_are_weighed() -> None:
    """A cabinet with a chance of 0.2 takes two steps, so a plain place with more than 0.1 comes first."""
    for in_shelf, first in ((8, "cabinet 1"), (12, "shelf 1")):
        counts = Places({"cabinet": (10, 10)}, {"mug": {"cabinet": (200, 1000), "shelf": (in_shelf * 10, 1000)}})
        teacher = SearchTeacher(counts)
        teacher.begin("put some mug on desk", "Looking quickly around you, you see a cabinet 1, and a shelf 1.")
        assert teacher.act() == f"go to {first}"


def test_where_it_is_wanted_a_thing_cannot_already_be() -> None:
    assert begin("put some mug on desk", "desk 1, shelf 1").act() == "go to shelf 1"
    assert begin("put two mug in desk", "desk 1, shelf 1").act() == "go to desk 1"
    assert begin("put a hot mug in desk", "desk 1, shelf 1").act() == "go to desk 1"


@pytest.mark.parametrize(
    ("task", "verb", "tool"),
    [("put a clean mug in shelf", "clean", "sinkbasin"), ("heat some mug and put it in shelf", "heat", "microwave")],
)
def test_a_thing_is_treated_before_it_is_placed_and_the_tool_stays_shut(task: str, verb: str, tool: str) -> None:
    dialogue(
        begin(task, f"desk 1, shelf 1, {tool} 1"),
        ("go to desk 1", on("desk 1", "a mug 1")),
        ("take mug 1 from desk 1", taken("mug 1", "desk 1")),
        (f"go to {tool} 1", closed(f"{tool} 1")),
        (f"{verb} mug 1 with {tool} 1", f"You {verb} the mug 1 using the {tool} 1."),
        ("go to shelf 1", on("shelf 1")),
        ("move mug 1 to shelf 1", "You move the mug 1 to the shelf 1."),
    )


def test_what_is_found_in_a_closed_tool_is_put_back_into_it_when_that_is_wanted() -> None:
    dialogue(
        begin("put a hot mug in microwave", "microwave 1"),
        ("go to microwave 1", closed("microwave 1")),
        ("open microwave 1", opened("microwave 1", "a mug 1")),
        ("take mug 1 from microwave 1", taken("mug 1", "microwave 1")),
        ("heat mug 1 with microwave 1", "You heat the mug 1 using the microwave 1."),
        ("move mug 1 to microwave 1", "You move the mug 1 to the microwave 1."),
    )


def test_two_things_end_in_one_place() -> None:
    dialogue(
        begin("find two mug and put them in cabinet", "desk 1, cabinet 2, cabinet 1"),
        ("go to desk 1", on("desk 1", "a mug 3, and a mug 1")),
        ("take mug 1 from desk 1", taken("mug 1", "desk 1")),
        ("go to cabinet 1", closed("cabinet 1")),
        ("open cabinet 1", opened("cabinet 1")),
        ("move mug 1 to cabinet 1", "You move the mug 1 to the cabinet 1."),
        ("go to desk 1", on("desk 1", "a mug 3")),
        ("take mug 3 from desk 1", taken("mug 3", "desk 1")),
        ("go to cabinet 1", "You arrive at cabinet 1. The cabinet 1 is open. In it, you see a mug 1."),
        ("move mug 3 to cabinet 1", "You move the mug 3 to the cabinet 1."),
    )


def test_one_that_is_already_where_two_are_wanted_stays_there() -> None:
    dialogue(
        begin("put two mug in desk", "desk 2, desk 1, shelf 1"),
        ("go to desk 1", on("desk 1")),
        ("go to desk 2", on("desk 2", "a mug 1")),
        ("go to shelf 1", on("shelf 1", "a mug 2")),
        ("take mug 2 from shelf 1", taken("mug 2", "shelf 1")),
        ("go to desk 2", on("desk 2", "a mug 1")),
        ("move mug 2 to desk 2", "You move the mug 2 to the desk 2."),
    )


def test_the_lamp_is_looked_for_while_the_thing_is_held() -> None:
    dialogue(
        begin("look at pen under the desklamp", "desk 1, shelf 1, cabinet 1"),
        ("go to shelf 1", on("shelf 1", "a pen 2")),
        ("take pen 2 from shelf 1", taken("pen 2", "shelf 1")),
        ("go to desk 1", on("desk 1", "a book 1")),
        ("go to cabinet 1", closed("cabinet 1")),
        ("open cabinet 1", opened("cabinet 1", "a desklamp 1")),
        ("use desklamp 1", "You turn on the desklamp 1."),
    )


def test_a_lamp_seen_before_is_gone_back_to() -> None:
    dialogue(
        begin("examine the mug with the desklamp", "desk 2, desk 1"),
        ("go to desk 1", on("desk 1", "a desklamp 1")),
        ("go to desk 2", on("desk 2", "a mug 1")),
        ("take mug 1 from desk 2", taken("mug 1", "desk 2")),
        ("go to desk 1", on("desk 1", "a desklamp 1")),
        ("use desklamp 1", "You turn on the desklamp 1."),
    )


def test_places_that_stand_together_are_used_from_one_spot() -> None:
    dialogue(
        begin("put some mug on shelf", "cabinet 2, cabinet 1, drawer 1, shelf 1"),
        ("go to cabinet 1", closed("cabinet 1")),
        ("open cabinet 1", opened("cabinet 1")),
        ("go to cabinet 2", REFUSED),
        ("open cabinet 2", opened("cabinet 2")),
        ("go to drawer 1", REFUSED),
        ("open drawer 1", REFUSED),  # it has no front
        ("examine drawer 1", "On the drawer 1, you see a mug 1."),
        ("take mug 1 from drawer 1", taken("mug 1", "drawer 1")),
        ("go to shelf 1", REFUSED),
        ("move mug 1 to shelf 1", "You move the mug 1 to the shelf 1."),
    )


def test_a_thing_that_cannot_be_taken_is_left() -> None:
    dialogue(
        begin("put some mug on shelf", "desk 1, cabinet 1, shelf 1"),
        ("go to desk 1", on("desk 1", "a mug 2, and a mug 1")),
        ("take mug 1 from desk 1", REFUSED),
        ("take mug 2 from desk 1", REFUSED),
        ("go to cabinet 1", closed("cabinet 1")),
    )


def test_a_place_that_refuses_is_left_for_the_next_of_its_kind() -> None:
    dialogue(
        begin("put some mug on shelf", "desk 1, shelf 2, shelf 1"),
        ("go to desk 1", on("desk 1", "a mug 1")),
        ("take mug 1 from desk 1", taken("mug 1", "desk 1")),
        ("go to shelf 1", on("shelf 1")),
        ("move mug 1 to shelf 1", REFUSED),
        ("go to shelf 2", on("shelf 2")),
        ("move mug 1 to shelf 2", REFUSED),
    )


def test_a_place_that_is_not_there_is_given_up() -> None:
    teacher = begin("put some mug on shelf", "desk 1")
    dialogue(teacher, ("go to desk 1", REFUSED), ("examine desk 1", REFUSED))
    assert teacher.act() is None


def test_it_takes_over_from_another_who_holds_the_wrong_thing() -> None:
    teacher = begin("put some mug on cabinet", "desk 1, shelf 1, cabinet 1")
    teacher.observe("go to shelf 1", on("shelf 1", "a pen 1"))
    teacher.observe("take pen 1 from shelf 1", taken("pen 1", "shelf 1"))
    dialogue(
        teacher,
        ("move pen 1 to shelf 1", "You move the pen 1 to the shelf 1."),
        ("go to desk 1", on("desk 1", "a mug 1")),
    )


def test_a_place_that_another_closed_is_opened_again() -> None:
    teacher = begin("put some mug on shelf", "cabinet 1, shelf 1")
    teacher.observe("go to cabinet 1", closed("cabinet 1"))
    teacher.observe("open cabinet 1", opened("cabinet 1", "a mug 1"))
    teacher.observe("close cabinet 1", "You close the cabinet 1.")
    dialogue(
        teacher,
        ("open cabinet 1", opened("cabinet 1", "a mug 1")),
        ("take mug 1 from cabinet 1", taken("mug 1", "cabinet 1")),
    )


def test_it_gives_up_when_everything_was_seen_or_the_task_is_unknown() -> None:
    teacher = dialogue(begin("put some mug on shelf", "desk 1"), ("go to desk 1", on("desk 1")))
    assert teacher.act() is None
    assert begin("fold the laundry", "desk 1").act() is None
    assert SearchTeacher(COUNTS).act() is None


def test_a_new_game_knows_nothing_of_the_last_one() -> None:
    teacher = dialogue(begin("put some mug on shelf", "desk 1, shelf 1"), ("go to desk 1", on("desk 1", "a mug 1")))
    teacher.begin("put some mug on shelf", "Looking quickly around you, you see a desk 1, and a shelf 1.")
    assert teacher.act() == "go to desk 1"


def test_the_counts_that_come_with_it_know_a_household() -> None:
    counts = observed_places()
    assert counts.chance_closed("fridge") == 1
    assert counts.chance_closed("sofa") == 0
    assert 0 < counts.chance_closed("drawer") < 1
    assert counts.chance("lettuce", "fridge") > counts.chance("lettuce", "drawer")
    assert counts.chance("remotecontrol", "sofa") > counts.chance("remotecontrol", "garbagecan")
    assert 0 < counts.chance("no such thing", "sofa") < 0.05
    for thing, places in counts.held.items():
        for place, (times, looks) in places.items():
            assert 0 <= times <= looks, (thing, place)


def test_what_was_never_seen_anywhere_is_put_down_where_it_can_be() -> None:
    teacher = begin("put some mug on shelf", "desk 2, desk 1, shelf 1")
    teacher.observe("go to desk 1", on("desk 1", "a gizmo 1"))
    teacher.observe("take gizmo 1 from desk 1", taken("gizmo 1", "desk 1"))
    dialogue(
        teacher,
        ("move gizmo 1 to desk 1", REFUSED),
        ("go to shelf 1", on("shelf 1")),
        ("move gizmo 1 to shelf 1", "You move the gizmo 1 to the shelf 1."),
    )
