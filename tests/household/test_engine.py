"""The rules, played in a room small enough to read, and held against themselves in generated ones."""

import random
from itertools import product

import nonsense
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem_mlx.environment import Game
from duomem_mlx.household.engine import REFUSED, FastGame
from duomem_mlx.household.environment import Household, household
from duomem_mlx.household.logic import PUT
from duomem_mlx.household.reader import goal_text
from tests.household.rooms import PROBLEM, small_game

OPENING = """\
-= Welcome to TextWorld, ALFRED! =-

You are in the middle of a room. Looking quickly around you, you see a drawer 2, a drawer 1, a fridge 1, a shelf 1, \
and a sinkbasin 1.

Your task is to: find two pen and put them in drawer."""

# What TextWorld answers to the same commands in the same room (test_equality.py plays them there).
PLAY = [
    ("look", "You are in the middle of a room. Looking quickly around you, you see nothing."),
    ("inventory", "You are not carrying anything."),
    ("open drawer 1", REFUSED),
    ("go to drawer 2", "You arrive at drawer 2. The drawer 2 is closed."),
    ("look", "You are facing the drawer 2, drawer 1, and shelf 1. Next to it, you see nothing."),
    ("go to drawer 1", REFUSED),
    ("go to drawer 2", REFUSED),
    ("examine drawer 1", "On the drawer 1, you see a pen 1."),
    ("examine drawer 2", "The drawer 2 is closed."),
    ("take pen 2 from drawer 2", REFUSED),
    ("open drawer 2", "You open the drawer 2. The drawer 2 is open. In it, you see a pen 2."),
    ("open drawer 2", REFUSED),
    ("open drawer 1", REFUSED),
    ("examine shelf 1", "On the shelf 1, you see a desklamp 1, a knife 1, and a pen 1."),
    ("examine pen 1", REFUSED),
    ("take desklamp 1 from shelf 1", REFUSED),
    ("use desklamp 1", "You turn on the desklamp 1."),
    ("use desklamp 1", "You turn on the desklamp 1."),
    ("take pen 1 from shelf 1", "You pick up the pen 1 from the shelf 1."),
    ("examine drawer 1", "On the drawer 1, you see a pen 1."),
    ("look", "You are facing the drawer 2, drawer 1, and shelf 1. Next to it, you see nothing."),
    ("take pen 2 from drawer 2", REFUSED),
    ("examine pen 1", "There's nothing special about pen 1."),
    ("inventory", "You are carrying: a pen 1."),
    ("go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see a box 1, and a mug 1."),
    ("move pen 1 to sinkbasin 1", REFUSED),
    ("clean pen 1 with sinkbasin 1", REFUSED),
    ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a desklamp 1, and a knife 1."),
    ("move pen 1 to shelf 1", "You move the pen 1 to the shelf 1."),
    ("take knife 1 from shelf 1", "You pick up the knife 1 from the shelf 1."),
    ("move knife 1 to drawer 1", "You move the knife 1 to the drawer 1."),
    ("look", "You are facing the drawer 2, drawer 1, and shelf 1. Next to it, you see a knife 1."),
    ("close drawer 2", "You close the drawer 2."),
    ("go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed."),
    ("open fridge 1", "You open the fridge 1. The fridge 1 is open. In it, you see a apple 1."),
    ("take apple 1 from fridge 1", "You pick up the apple 1 from the fridge 1."),
    ("examine fridge 1", "The fridge 1 is open. In it, you see nothing."),
    ("cool apple 1 with fridge 1", "You cool the apple 1 using the fridge 1."),
    ("examine apple 1", "This is a cold apple 1."),
    ("move apple 1 to fridge 1", "You move the apple 1 to the fridge 1."),
    ("go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see a box 1, and a mug 1."),
    ("take box 1 from sinkbasin 1", REFUSED),
    ("take mug 1 from sinkbasin 1", "You pick up the mug 1 from the sinkbasin 1."),
    ("clean mug 1 with sinkbasin 1", "You clean the mug 1 using the sinkbasin 1."),
    ("examine mug 1", "This is a normal mug 1. In it, you see nothing."),
    ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a desklamp 1, and a pen 1."),
    ("move mug 1 to shelf 1", "You move the mug 1 to the shelf 1."),
    ("take knife 1 from drawer 1", "You pick up the knife 1 from the drawer 1."),
    ("slice apple 1 with knife 1", REFUSED),
    ("go to fridge 1", "You arrive at fridge 1. The fridge 1 is open. In it, you see a apple 1."),
    ("close fridge 1", "You close the fridge 1."),
    ("slice apple 1 with knife 1", "You sliced the apple 1 with the knife 1."),
    ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a desklamp 1, a mug 1, and a pen 1."),
    ("move knife 1 to drawer 1", "You move the knife 1 to the drawer 1."),
    ("open drawer 2", "You open the drawer 2. The drawer 2 is open. In it, you see a pen 2."),
    ("take pen 2 from drawer 2", "You pick up the pen 2 from the drawer 2."),
    ("move pen 2 to drawer 1", "You move the pen 2 to the drawer 1."),
]


def test_a_game_is_told_word_for_word() -> None:
    game = small_game()

    assert game.reset() == OPENING
    for command, told in PLAY:
        assert not game.done, command
        assert game.step(command) == told, command
    assert (game.done, game.won, game.score) == (True, True, 1.0)


def test_after_the_end_the_last_words_are_repeated() -> None:
    game = small_game()
    for command, _ in PLAY:
        game.step(command)
    valid = game.valid_commands()

    assert game.step("look") == PLAY[-1][1]
    assert game.step("nonsense") == PLAY[-1][1]
    assert game.valid_commands() == valid
    assert game.reset() == OPENING
    assert not game.done


def test_a_game_that_begins_at_its_goal_ends_with_the_first_command() -> None:
    start = PROBLEM[: PROBLEM.index("(:goal")]
    game = small_game(problem=f"{start}{goal_text('pick_and_place_simple', 'PenType', 'DrawerType')}\n)")

    assert (game.won, game.done) == (True, False)
    assert game.step("nonsense") == REFUSED
    assert (game.won, game.done) == (True, True)


def test_the_older_rules_put_and_name_the_location() -> None:
    game = small_game(PUT)
    location = game.world.names[game.world.location_of[game.world.place_named["shelf 1"]]]

    assert game.step("help") == REFUSED
    assert game.step("go to shelf 1") == f"You arrive at {location}. On the shelf 1, you see a desklamp 1, a knife 1, and a pen 1."  # fmt: skip # noqa: E501
    game.step("take knife 1 from shelf 1")
    assert game.step("move knife 1 to drawer 1") == REFUSED
    assert "put knife 1 in/on drawer 1" in game.valid_commands()
    assert game.step("put knife 1 in/on drawer 1") == "You put the knife 1 in/on the drawer 1."


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("  look\t", True),
        ("look\n", True),
        ("\u2003look\u00a0", True),
        ("Look", False),
        ("LOOK", False),
        ("look ", True),
        ("look around", False),
        ("go to  shelf 1", False),
        ("go  to shelf 1", False),
        ("go to shelf\u00a01", False),
        ("go to shelf 01", False),
        ("go to shelf", False),
        ("go to", False),
        ("go", False),
        ("", False),
        (" ", False),
        ("x" * 10_000, False),
        ("look\nlook", False),
        ("inventory inventory", False),
        ("examine loc 1", False),
        ("examine agent1", False),
        ("看看", False),
        ("l\u043eok", False),
        ("look\x00", False),
    ],
)
def test_a_command_is_taken_word_for_word(command: str, told: bool) -> None:
    assert (small_game().step(command) != REFUSED) is told


@pytest.mark.parametrize(
    ("clean", "hot", "cool", "sliced", "told"),
    [
        (0, 0, 0, 0, "There's nothing special about apple 1."),
        (1, 0, 0, 0, "This is a clean apple 1."),
        (0, 1, 0, 0, "This is a hot apple 1."),
        (0, 0, 1, 0, "This is a cold apple 1."),
        (1, 1, 0, 0, "This is a hot and clean apple 1."),
        (1, 0, 1, 0, "This is a cool and clean apple 1."),
        (0, 0, 0, 1, "This is a sliced apple 1."),
        (1, 0, 0, 1, "This is a clean sliced apple 1."),
        (0, 1, 0, 1, "This is a hot sliced apple 1."),
        (0, 0, 1, 1, "This is a cool sliced apple 1."),
        (1, 1, 0, 1, "This is a hot and clean sliced apple 1."),
        (1, 0, 1, 1, "This is a cool and clean sliced apple 1."),
    ],
)
def test_how_a_held_thing_looks(clean: int, hot: int, cool: int, sliced: int, told: str) -> None:
    apple = "(atLocation agent1 loc_bar_0)"
    marks = {"isClean": clean, "isHot": hot, "isCool": cool, "isSliced": sliced}
    facts = "".join(f"({mark} Apple_bar__plus_00_dot_50)" for mark, set_ in marks.items() if set_)
    game = small_game(problem=PROBLEM.replace(apple, apple + facts))
    for command in ("go to fridge 1", "open fridge 1", "take apple 1 from fridge 1"):
        game.step(command)

    assert game.step("examine apple 1") == told


seeds = st.integers(0, 60)
walks = st.integers(0, 10**6)


def wander(game: FastGame, seed: int, steps: int) -> None:
    """Take and put things as often as one goes about."""
    chance = random.Random(seed)
    for _ in range(steps):
        commands = game.valid_commands()
        verb = chance.choice(sorted({command.split()[0] for command in commands}))
        game.step(chance.choice([command for command in commands if command.startswith(verb)]))


@settings(deadline=None, max_examples=25)
@given(seed=seeds, walk=walks, steps=st.integers(0, 40))
def test_what_is_valid_is_taken_and_all_else_is_refused(seed: int, walk: int, steps: int) -> None:
    game = household().open(f"generated:{seed}")
    assert isinstance(game, FastGame)
    wander(game, walk, steps)
    if game.done:
        return
    moment, valid = game.snapshot(), game.valid_commands()
    things, places = list(game.world.thing_named), list(game.world.place_named)

    assert valid == sorted(set(valid))
    forms = {"look", "inventory", "help", "north"}
    forms |= {f"{verb} {noun}" for verb in ("go to", "open", "close", "examine", "use") for noun in things + places}
    for thing, place in product(things, places):
        forms |= {f"take {thing} from {place}", f"move {thing} to {place}"}
        forms |= {f"{verb} {thing} with {place}" for verb in ("clean", "heat", "cool", "slice")}
    forms |= {f"slice {thing} with {tool}" for thing, tool in product(things, things)}
    assert set(valid) <= forms
    for command in forms:
        told = game.step(command)
        assert (told != REFUSED) is (command in valid), command
        if told == REFUSED:
            assert game.snapshot().state == moment.state
        else:
            game.restore(moment)


@settings(deadline=None, max_examples=50)
@given(seed=seeds, walk=walks, steps=st.integers(0, 40))
def test_nonsense_is_refused_unless_it_is_a_valid_command_in_white_space(seed: int, walk: int, steps: int) -> None:
    """What TextWorld takes is, by its construction, what stands in the list of valid commands."""
    game = household().open(f"generated:{seed}")
    assert isinstance(game, FastGame)
    wander(game, walk, steps)
    if game.done:
        return
    chance, moment, valid = random.Random(walk), game.snapshot(), game.valid_commands()
    names = [*game.world.thing_named, *game.world.place_named]

    slips = [nonsense.slip(chance.choice(valid), chance) for _ in range(100)]
    for command in [*nonsense.ODD, *slips, *(nonsense.about(names, chance) for _ in range(100))]:
        assert (game.step(command) != REFUSED) is (command.strip() in valid), command
        game.restore(moment)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, walk=walks, steps=st.integers(0, 30))
def test_a_moment_comes_back_whole(seed: int, walk: int, steps: int) -> None:
    game = household().open(f"generated:{seed}")
    assert isinstance(game, FastGame)
    wander(game, walk, steps)
    moment = game.snapshot()
    before = (game.won, game.done, game.valid_commands())
    wander(game, walk + 1, 15)
    after = game.snapshot()
    game.restore(moment)

    assert (game.won, game.done, game.valid_commands()) == before
    wander(game, walk + 1, 15)
    assert game.snapshot() == after
    other = household().open(f"generated:{seed}")
    assert isinstance(other, FastGame)
    other.restore(moment)
    assert other.valid_commands() == before[2]


@settings(deadline=None, max_examples=20)
@given(seed=seeds, walk=walks)
def test_a_thing_is_in_the_hand_or_where_it_was_put(seed: int, walk: int) -> None:
    game = household().open(f"generated:{seed}")
    assert isinstance(game, FastGame)
    lying = sorted(thing for inside in game.world.start.contents.values() for thing in inside)
    for step in range(20):
        wander(game, walk + step, 1)
        state = game.snapshot().state
        everything = [thing for inside in state.contents.values() for thing in inside]
        everything += [] if state.held is None else [state.held]
        assert sorted(everything) == lying
        assert all(list(inside) == sorted(inside) for inside in state.contents.values())


def test_two_games_of_one_file_do_not_touch_each_other() -> None:
    world_keeper = Household()
    one, other = (world_keeper.open("generated:3") for _ in range(2))
    opening = other.reset()
    wander(one, 1, 40)  # type: ignore[arg-type]

    assert other.reset() == opening
    assert household().open("generated:3").reset() == opening


def test_it_meets_the_protocol_of_games() -> None:
    assert isinstance(small_game(), Game)
