"""The stumbling teacher on a row of doors: it gets where it wants to, and what it stumbles over it does not want."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.household.environment import Household
from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.scripted import ScriptedTeacher
from duomem_mlx.teachers.stumbling import FURTHER, StumblingTeacher
from duomem_mlx.trajectory import Trajectory

WAY = tuple(f"go to door {number}" for number in range(1, 9))


def acts(share: float, seed: int = 0, ahead: tuple[str, ...] = WAY) -> list[tuple[str, str | None]]:
    """(done, wanted instead) of one game."""
    teacher = StumblingTeacher(ScriptedTeacher(WAY), share, ahead, seed)
    teacher.begin("reach the last door", "There are doors.")
    done = []
    while (action := teacher.act()) is not None:
        done.append((action, teacher.wanted))
        teacher.observe(action, "You are there.")
    return done


@given(share=st.floats(0, 0.9), seed=st.integers(0, 2**32))
def test_what_was_wanted_is_what_the_teacher_said_and_stands_only_where_something_else_was_done(
    share: float, seed: int
) -> None:
    for (done, wanted), meant in zip(acts(share, seed), WAY, strict=True):
        assert (wanted or done) == meant
        assert wanted != done


@given(seed=st.integers(0, 2**32))
def test_what_is_done_instead_was_done_before_or_comes_later_or_is_miscounted(seed: int) -> None:
    before: list[str] = []
    for done, wanted in acts(0.9, seed):
        if wanted is not None:
            number, meant = int(done.split()[-1]), int(wanted.split()[-1])
            assert done in before or done in WAY or 0 < number - meant <= FURTHER
        before.append(done)


def test_without_a_share_it_is_the_teacher_and_with_one_it_stumbles_about_as_often() -> None:
    assert acts(0) == [(action, None) for action in WAY]
    stumbled = sum(wanted is not None for seed in range(200) for _, wanted in acts(0.25, seed))
    assert stumbled / (200 * len(WAY)) == pytest.approx(0.25, abs=0.04)


def test_the_same_seed_stumbles_over_the_same_and_a_second_game_is_begun_anew() -> None:
    assert acts(0.5, 3) == acts(0.5, 3)
    assert acts(0.5, 3) != acts(0.5, 4)
    teacher = StumblingTeacher(ScriptedTeacher(WAY), 0.5, WAY, 3)
    for _ in range(2):
        teacher.begin("reach the last door", "There are doors.")
        again = []
        while (action := teacher.act()) is not None:
            again.append((action, teacher.wanted))
            teacher.observe(action, "You are there.")
        assert again == acts(0.5, 3)


def test_a_first_turn_with_nothing_to_confuse_it_with_stays_right() -> None:
    teacher = StumblingTeacher(ScriptedTeacher(["wait"]), 0.9, (), 1)
    teacher.begin("wait", "")
    assert (teacher.act(), teacher.wanted) == ("wait", None)


def stumbled(game: str, seed: int) -> Trajectory:
    world = Household()
    straight = attempt(world, game, world.teacher(), {}, 30)
    return attempt(world, game, StumblingTeacher(world.teacher(), 0.3, straight.actions, seed), {"kind": "search"}, 50)


def test_the_household_s_teacher_finds_back_to_its_way() -> None:
    played = [stumbled(f"generated:{seed}", seed) for seed in range(30)]
    assert sum(t.won for t in played) >= 28
    assert sum(step.wanted is not None for t in played for step in t.steps) > 30
    for t in played:
        assert all(step.action != step.wanted for step in t.steps)
