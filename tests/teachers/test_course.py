import threading
from pathlib import Path

import pytest

from duomem_mlx.teachers import course
from duomem_mlx.teachers.asking import Stopped
from duomem_mlx.teachers.attempts import attempts_in
from duomem_mlx.teachers.course import Rules, play_in_turn, play_together
from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.scripted import ScriptedTeacher
from duomem_mlx.trajectory import Trajectory
from tests.teachers.corridor import Corridors

GAMES = [f"train/{number}" for number in range(12)]
WALLS = {"train/0", "train/5", "train/10"}


def play(game: str, number: int) -> Trajectory:
    """Wins with the second attempt at the earliest, each time with one more useless jump, but for what has a wall."""
    steps = [] if number == 1 else ["jump"] * (number // 2) + ["walk"] * 8
    return attempt(Corridors(), game, ScriptedTeacher(steps), {"kind": "scripted"}, 30)


@pytest.mark.parametrize("width", [0, 1, 4, 50])
def test_each_game_gets_as_many_attempts_as_it_takes(tmp_path: Path, width: int) -> None:
    seen: list[int] = []
    rules = Rules(attempts=5, solutions=2)
    with attempts_in(tmp_path) as attempts:
        if width == 0:
            play_in_turn(GAMES, attempts, rules, play, seen.append)
        else:
            play_together(GAMES, attempts, rules, play, seen.append, width, lambda: None)
    for game in GAMES:
        won = [outcome.won for outcome in attempts.done[game]]
        # In file order the wins come first: attempts 2 and 4 are two ways, 3 is as 2.
        assert sorted(won) == ([False] * 5 if game in WALLS else [False, True, True, True])
    assert seen[-1] == len(GAMES)
    assert seen == sorted(seen)


def test_what_is_done_with_is_not_touched(tmp_path: Path) -> None:
    rules = Rules(attempts=3)
    with attempts_in(tmp_path) as attempts:
        play_in_turn(GAMES[:6], attempts, rules, play, lambda done: None)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    played: list[str] = []

    def noted(game: str, number: int) -> Trajectory:
        played.append(game)
        return play(game, number)

    with attempts_in(tmp_path) as attempts:
        play_together(GAMES, attempts, rules, noted, lambda done: None, 3, lambda: None)
    assert set(played) == set(GAMES[6:])
    assert all((tmp_path / name).read_bytes().startswith(text) for name, text in before.items())


def test_a_failure_in_one_game_ends_all_and_what_was_played_is_kept(tmp_path: Path) -> None:
    stop = threading.Event()

    def failing(game: str, number: int) -> Trajectory:
        if game == GAMES[6]:
            raise ValueError("broken")
        if GAMES.index(game) > 6:
            stop.wait(10)
            raise Stopped
        return play(game, number)

    attempts_made: list[int] = []
    with pytest.raises(ValueError, match="broken"), attempts_in(tmp_path) as attempts:
        play_together(GAMES, attempts, Rules(), failing, attempts_made.append, 3, stop.set)
    assert stop.is_set()
    assert attempts.done.keys() >= set(GAMES[:4])


def test_ctrl_c_saves_what_comes_in_time_and_does_not_wait_for_what_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "GRACE_S", 0.5)
    stop = threading.Event()

    def slow(game: str, number: int) -> Trajectory:
        if game == GAMES[1]:
            stop.wait(10)  # an answer that comes after Ctrl-C was pressed
            return play(game, 2)
        if game == GAMES[2]:
            threading.Event().wait(30)  # one that does not
        return play(game, 2)

    def press(done: int) -> None:
        if not stop.is_set():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), attempts_in(tmp_path) as attempts:
        play_together(GAMES[1:3], attempts, Rules(), slow, press, 2, stop.set)
    assert list(attempts.done) == [GAMES[1]]
