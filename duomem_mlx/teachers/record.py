"""Writing down what a teacher does in a game."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from duomem_mlx.environment import Environment, Game, Teacher, check_game
from duomem_mlx.trajectory import Step, Trajectory


def attempt(
    environment: Environment,
    game_id: str,
    teacher: Teacher,
    teacher_record: Mapping[str, Any],
    max_steps: int,
) -> Trajectory:
    """One attempt of `teacher` at a game, at most `max_steps` actions long.

    It ends with `won`; with `lost` when the game was over without being won or the teacher gave up; or with `steps`.
    `seconds` is wall time from opening the game on; `teacher_record` is kept as it is.
    """
    start = time.perf_counter()
    game = environment.open(game_id)
    check_game(game, game_id)
    opening = game.reset()
    teacher.begin(game.task, opening)
    steps: list[Step] = []
    gave_up = False
    while not (game.done or gave_up) and len(steps) < max_steps:
        action = teacher.act()
        if action is None:
            gave_up = True
            continue
        observation = game.step(action)
        teacher.observe(action, observation)
        steps.append(Step(action, observation))
    kind: Callable[[str], str] = getattr(environment, "kind", lambda _: "")
    return Trajectory(
        environment=environment.name,
        game=game_id,
        split=game.split,
        kind=kind(game_id),
        task=game.task,
        opening=opening,
        steps=tuple(steps),
        won=game.won,
        score=game.score,
        end=_end(game, gave_up),
        teacher=dict(teacher_record),
        seconds=round(time.perf_counter() - start, 4),
    )


def _end(game: Game, gave_up: bool) -> str:
    if game.won:
        return "won"
    return "lost" if game.done or gave_up else "steps"
