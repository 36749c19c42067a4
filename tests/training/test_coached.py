"""Who did what in a game that a student begins and a teacher finishes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem_mlx.household.environment import household
from duomem_mlx.household.teacher.search import SearchTeacher
from duomem_mlx.offers import WorldBroke
from duomem_mlx.prompt import Reply
from duomem_mlx.student.episodes import Turn
from duomem_mlx.training.coached import Coached, parted
from duomem_mlx.trajectory import Trajectory
from tests.teachers.corridor import Corridor, Walker
from tests.training.guided import Breaking, Guide, Guided

WORLD = Guided()


def turn(action: str | None, thought: str | None = None) -> Turn:
    flags = () if action else ("no_action",)
    return Turn("g", "", Reply(action, thought), action or "", "", flags, 0, 0, 0, 0.0, None)


def played(coached: Coached, actions: list[str | None], most: int = 30) -> Trajectory:
    """As the turn loop does it: an answer without an action never reaches the game."""
    coached.reset()
    for action in actions:
        if action is not None:
            coached.step(action)
        coached.hear(turn(action, f"I will {action}"))
        if action is not None and coached.done:
            break
    coached.finish(most)
    return coached.trajectory(WORLD, "tiny", 1.0)


@given(
    number=st.integers(0, 30),
    actions=st.lists(st.sampled_from(["walk", "walk ", "jump", "sit down", None]), max_size=9),
    patience=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_every_action_is_kept_with_what_the_teacher_would_have_done(number, actions, patience):
    game = Corridor(f"train/{number}")
    one = played(Coached(game, Guide(), WORLD.refused, patience), actions)
    again = Corridor(f"train/{number}")
    assert again.reset() == one.opening
    assert [again.step(step.action) for step in one.steps] == [step.observation for step in one.steps]
    assert (again.won, again.score) == (one.won, one.score)
    begun = one.teacher["student_steps"]
    said = actions[: actions.index(None)] if None in actions else actions
    assert [step.action for step in one.steps[:begun]] == said[:begun]
    assert [step.wanted for step in one.steps[:begun]] == [
        None if a.strip() == "walk" else "walk" for a in said[:begun]
    ]
    assert all(step.action == "walk" and step.wanted is None and not step.thought for step in one.steps[begun:])
    assert all(step.thought == f"I will {step.action}" for step in one.steps[:begun])
    refusals = [step.wanted is not None for step in one.steps[:begun]]
    assert sum(refusals) <= patience
    if sum(refusals) == patience:
        assert refusals[-1]  # the teacher took over at once
    elif not one.won and begun < len(said):
        assert game.done
    assert one.won == (number % 5 != 0)
    assert one.end == ("won" if one.won else "lost")
    assert parted(one) == (begun < len(one.steps) or any(refusals))


def test_what_follows_an_answer_without_an_action_is_the_teacher_s(capsys):
    one = played(Coached(Corridor("train/6"), Guide(), WORLD.refused, 3), ["walk", None, "jump", "walk"])
    assert one.teacher["student_steps"] == 1
    assert one.taught_by == "search"
    assert "jump" not in one.actions
    assert one.won


def test_a_teacher_without_an_answer_ends_it_before_the_student_acts():
    one = played(Coached(Corridor("train/1"), Walker(), None, 3), ["jump", "jump", "jump", "jump", "jump", "walk"])
    assert one.actions == ("jump",) * 4  # Walker knows two steps more than the way is long
    assert (one.won, one.end) == (False, "steps")


def test_no_more_than_the_steps_of_a_game():
    one = played(Coached(Corridor("train/6"), Guide(), None, 3), ["jump"] * 3, most=5)
    assert len(one.steps) == 5
    assert (one.won, one.end) == (False, "steps")


@pytest.mark.parametrize("student", [["walk", "walk"], ["walk"]])
def test_a_game_that_breaks_is_lost_with_its_reason(student: list[str]) -> None:
    coached = Coached(Breaking("train/6"), Guide(), None, 3)
    coached.reset()
    coached.step("walk")
    if len(student) == 2:
        with pytest.raises(WorldBroke):
            coached.step("walk")
    coached.finish(30)
    one = coached.trajectory(WORLD, "tiny", 1.0)
    assert (one.won, one.end, len(one.steps)) == (False, "environment", 2)
    assert one.steps[-1].observation.startswith("The world broke the game off: `step` raised ")


@pytest.mark.parametrize("seed", range(1, 13))
def test_the_search_teacher_corrects_and_finishes_generated_games(seed: int) -> None:
    """A student that does anything at all; what was wanted is what a teacher says who reads the same texts anew."""
    import random

    world, choice = household(), random.Random(seed)
    game: Any = world.open(f"generated:{seed}")
    coached = Coached(game, SearchTeacher(), world.refused, 3)
    coached.reset()
    for _ in range(8):
        if coached.done:
            break
        coached.step(choice.choice([*game.valid_commands(), "take mug 1 from desk 1", "dance"]))
    coached.finish(60)
    one = coached.trajectory(world, "tiny", 1.0)
    anew = SearchTeacher()
    anew.begin(one.task, one.opening)
    for place, step in enumerate(one.steps):
        would = anew.act()
        assert would == (step.wanted or step.action), place
        anew.observe(step.action, step.observation)
    assert one.won or "papertowelroll" in (anew.room.held or "")
