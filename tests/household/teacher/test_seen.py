from duomem_mlx.household.teacher.seen import REFUSED, Room

OPENING = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
    "a cabinet 2, a cabinet 1, a desk 1, a microwave 1, and a sinkbasin 1.\n\nYour task is to: put a mug in desk."
)


def room(*turns: tuple[str, str]) -> Room:
    seen = Room(OPENING)
    for action, observation in turns:
        seen.read(action, observation)
    return seen


def test_the_opening_lists_the_places() -> None:
    assert room().places == ["cabinet 2", "cabinet 1", "desk 1", "microwave 1", "sinkbasin 1"]


def test_an_empty_text_is_an_empty_room() -> None:
    assert Room("").places == []


def test_arriving_shows_what_lies_there() -> None:
    seen = room(("go to desk 1", "You arrive at desk 1. On the desk 1, you see a mug 2, a mug 1, and a pen 10."))
    assert seen.here == {"desk 1"}
    assert seen.inside == {"desk 1": {"mug 1", "mug 2", "pen 10"}}
    assert seen.things("mug") == [("mug 1", "desk 1"), ("mug 2", "desk 1")]


def test_nothing_there_was_looked_into_all_the_same() -> None:
    assert room(("go to desk 1", "You arrive at desk 1. On the desk 1, you see nothing.")).inside == {"desk 1": set()}


def test_closed_opened_and_closed_again() -> None:
    seen = room(("go to cabinet 1", "You arrive at cabinet 1. The cabinet 1 is closed."))
    assert seen.shut("cabinet 1")
    assert "cabinet 1" not in seen.inside
    seen.read("open cabinet 1", "You open the cabinet 1. The cabinet 1 is open. In it, you see an apple 1.")
    assert not seen.shut("cabinet 1")
    assert seen.inside["cabinet 1"] == {"apple 1"}
    seen.read("close cabinet 1", "You close the cabinet 1.")
    assert seen.shut("cabinet 1")
    assert seen.inside["cabinet 1"] == {"apple 1"}


def test_what_is_taken_is_held_and_lies_nowhere_even_when_two_places_listed_it() -> None:
    seen = room(
        ("go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see a mug 1."),
        ("go to desk 1", "You arrive at desk 1. On the desk 1, you see a mug 1."),
        ("take mug 1 from desk 1", "You pick up the mug 1 from the desk 1."),
    )
    assert seen.held == "mug 1"
    assert seen.things("mug") == []
    for words in ("move the mug 1 to", "put the mug 1 in/on"):
        seen.read("", f"You {words} the sinkbasin 1.")
        assert seen.held is None
        assert seen.things("mug") == [("mug 1", "sinkbasin 1")]


def test_heat_undoes_cold_and_neither_undoes_clean() -> None:
    seen = room(
        ("", "You clean the mug 1 using the sinkbasin 1."),
        ("", "You cool the mug 1 using the fridge 1."),
        ("", "You heat the mug 1 using the microwave 1."),
    )
    assert seen.treated["mug 1"] == {"clean", "heat"}


def test_the_inventory_corrects_what_was_believed() -> None:
    seen = room(("inventory", "You are carrying: a mug 3."))
    assert seen.held == "mug 3"
    seen.read("inventory", "You are not carrying anything.")
    assert seen.held is None


def test_one_cannot_go_where_one_stands() -> None:
    seen = room(
        ("go to cabinet 1", "You arrive at cabinet 1. The cabinet 1 is closed."),
        ("go to cabinet 2", REFUSED),
        ("go to nowhere 9", REFUSED),
    )
    assert seen.here == {"cabinet 1", "cabinet 2"}
    seen.read("go to desk 1", "You arrive at desk 1. On the desk 1, you see nothing.")
    assert seen.here == {"desk 1"}


def test_looking_around_tells_where_one_stands() -> None:
    seen = room(("look", "You are facing the cabinet 2, and cabinet 1. Next to it, you see nothing."))
    assert seen.here == {"cabinet 1", "cabinet 2"}


def test_a_refusal_counts_only_when_the_action_could_have_worked() -> None:
    seen = room(
        ("take mug 1 from desk 1", REFUSED), ("heat mug 1 with microwave 1", REFUSED), ("use desklamp 1", REFUSED)
    )
    assert seen.refused == set()
    seen.read("go to desk 1", "You arrive at desk 1. On the desk 1, you see a mug 1.")
    seen.read("take mug 1 from desk 1", REFUSED)
    assert seen.refused == {"take mug 1 from desk 1"}
    assert seen.things("mug") == []
