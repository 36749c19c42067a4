"""Many games with one teacher: as many attempts at each as it takes, several games at once."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from duomem_mlx.teachers.asking import Stopped
from duomem_mlx.teachers.attempts import Attempts, Outcome, ways_won
from duomem_mlx.trajectory import Trajectory

LOOK_EVERY_S = 0.2
GRACE_S = 5.0  # after Ctrl-C, for answers that are under way and will be paid for

Play = Callable[[str, int], Trajectory]  # (game, number of the attempt from 1) -> what came of it


@dataclass(frozen=True)
class Rules:
    """When a game is done with."""

    attempts: int = 5  # at most, at one game
    solutions: int = 1  # different ways of winning it

    def done(self, outcomes: Sequence[Outcome]) -> bool:
        return len(outcomes) >= self.attempts or ways_won(outcomes) >= self.solutions


def attempts_at(game: str, before: Sequence[Outcome], rules: Rules, play: Play) -> Iterator[Trajectory]:
    """Play a game on from what was done before until it is done with."""
    ways = {outcome.id for outcome in before if outcome.won}
    for number in range(len(before) + 1, rules.attempts + 1):
        if len(ways) >= rules.solutions:
            return
        trajectory = play(game, number)
        if trajectory.won:
            ways.add(trajectory.id)
        yield trajectory


def play_in_turn(
    games: Sequence[str], attempts: Attempts, rules: Rules, play: Play, watch: Callable[[int], None]
) -> None:
    """Play all games that are not done with, one after the other. `watch(done)` is told how many games are."""
    going = [game for game in games if not rules.done(attempts.done.get(game, ()))]
    for number, game in enumerate(going, len(games) - len(going) + 1):
        for trajectory in attempts_at(game, attempts.done.get(game, ()), rules, play):
            attempts.add(trajectory)
        watch(number)


def play_together(
    games: Sequence[str],
    attempts: Attempts,
    rules: Rules,
    play: Play,
    watch: Callable[[int], None],
    width: int,
    stop: Callable[[], None],
) -> None:
    """Play all games that are not done with, `width` at a time, each attempt saved as it ends.

    `watch(done)` is called several times a second. `stop` is to make `play` raise Stopped soon; it is called when
    something fails or Ctrl-C is pressed, and that is raised again once the games have stopped. Where `play` raises
    Stopped of itself, the games under way end and this returns.
    """
    going = [game for game in games if not rules.done(attempts.done.get(game, ()))]
    before = {game: tuple(attempts.done.get(game, ())) for game in going}
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for game in going:
        waiting.put(game)
    came: queue.SimpleQueue[_Item] = queue.SimpleQueue()

    def work() -> None:
        try:
            while True:
                game = waiting.get_nowait()
                for trajectory in attempts_at(game, before[game], rules, play):
                    came.put(trajectory)
        except (queue.Empty, Stopped):
            pass
        except BaseException as error:
            came.put(error)
        finally:
            came.put(None)

    workers = min(width, len(going))
    for _ in range(workers):
        # Daemons: a request that hangs must not keep a program alive that was told to stop.
        threading.Thread(target=work, daemon=True).start()
    failure: BaseException | None = None
    until = float("inf")
    while workers and time.monotonic() < until:
        try:
            item = _next(came)
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, Trajectory):
                attempts.add(item)
                attempts.sync()
            workers -= item is None
            watch(sum(rules.done(attempts.done.get(game, ())) for game in games))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and isinstance(failure, KeyboardInterrupt):
                break  # pressed again
            failure = failure or error
            until = min(until, time.monotonic() + GRACE_S)
            stop()
    if failure is not None:
        raise failure


_Item = Trajectory | BaseException | None  # None: a worker ended


def _next(came: "queue.SimpleQueue[_Item]") -> "_Item | bool":
    """What came next; False when nothing did for a while."""
    try:
        return came.get(timeout=LOOK_EVERY_S)
    except queue.Empty:
        return False
