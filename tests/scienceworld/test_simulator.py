"""The real simulator: skipped where the package or Java is missing."""

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.scienceworld import simulator, tasks
from duomem_mlx.scienceworld.environment import ScienceWorld, ScienceWorldGame
from duomem_mlx.scienceworld.simulator import Simulator, check_installed
from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.scripted import ScriptedTeacher

GAME = "find-non-living-thing/0"
WON = ["go to kitchen", "look around", "focus on cupboard", "move cupboard to red box"]


@pytest.fixture(scope="module")
def world() -> Iterator[ScienceWorld]:
    try:
        check_installed()
    except UsageError as missing:
        pytest.skip(str(missing))
    world = ScienceWorld()
    yield world
    world.close()


def played(game: ScienceWorldGame, actions: list[str]) -> list[str]:
    return [game.reset(), *map(game.step, actions)]


def test_a_gold_path_wins_in_the_same_words_alone_and_beside_another_game(world: ScienceWorld) -> None:
    best, _ = world.solutions(GAME)
    assert best == WON
    game, beside = world.open(GAME), world.open("power-component/0")
    alone = played(game, WON)
    assert (game.won, game.score) == (True, 1.0)
    assert alone[0].startswith("Your task is to find a(n) non-living thing.")
    beside.reset()
    again = world.open(GAME)
    said = [again.reset()]
    for action in WON:
        beside.step("go to workshop")
        said.append(again.step(action))
    assert said == alone
    assert (beside.done, beside.score) == (False, 0.13)


def test_the_wrong_focus_loses_and_what_it_does_not_understand_is_refused(world: ScienceWorld) -> None:
    game = world.open(GAME)
    game.reset()
    for nonsense in ("dance", "", "🫖\n'\"\\", "go to " + "kitchen " * 300):
        assert world.refused(game.step(nonsense)), nonsense
    game = world.open("lifespan-longest-lived/0")
    game.reset()
    assert game.step("focus on picture").startswith("You focus on the picture")
    assert (game.done, game.won, game.score) == (True, False, 0.0)


def test_a_process_that_is_killed_marks_its_game_and_the_next_is_played(world: ScienceWorld) -> None:
    game = world.open(GAME)

    class Killer(ScriptedTeacher):
        def observe(self, action: str, observation: str) -> None:
            for process in held:
                os.kill(process.pid, signal.SIGKILL)
            held.clear()

    taken = world.simulators.take()
    held = [taken]
    world.simulators.give_back(taken)
    broken = attempt(world, GAME, Killer(WON), {}, 9)
    assert (broken.end, broken.won, len(broken.steps)) == ("environment", False, 2)
    assert broken.steps[0].observation == "You move to the kitchen."
    assert "ScienceWorld's simulator ended in mid-game" in broken.steps[1].observation
    assert attempt(world, GAME, ScriptedTeacher(WON), {}, 9).won
    assert game.id == GAME


def test_a_java_that_does_not_start_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, world: ScienceWorld
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'Unable to locate a Java Runtime.' >&2\nexit 1\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(DuomemError, match="Unable to locate a Java Runtime") as told:
        ScienceWorld().open(GAME).reset()
    assert "Install Java 8 or newer" in str(told.value.fix)


@pytest.mark.slow
def test_the_variations_are_the_package_s_own(world: ScienceWorld) -> None:
    process = Simulator()
    try:
        for task in tasks.SIZES:
            process.load(task, 0)
            ours = [list(tasks.variations(task, split)) for split in tasks.SPLITS]
            assert ours == [process.variations(split) for split in ("Train", "Dev", "Test")]
    finally:
        process.close()
    assert simulator.SIMPLIFICATIONS == "easy"
