"""Writing down what a teacher does in a game."""

import time
from collections.abc import Mapping
from typing import Any

from duomem_mlx.environment import Environment, Teacher
from duomem_mlx.guarded import open_game
from duomem_mlx.offers import WorldBroke
from duomem_mlx.trajectory import Step, Trajectory


def attempt(
    environment: Environment,
    game_id: str,
    teacher: Teacher,
    teacher_record: Mapping[str, Any],
    max_steps: int,
) -> Trajectory:
    """One attempt of `teacher` at a game, at most `max_steps` actions long.

    It ends with `won`; with `lost` when the game was over without being won or the teacher gave up (unless that says
    another end); with `steps`; or with `environment` when the game or the world's own teacher did something wrong, told
    as what followed the last action. `seconds` is wall time from opening the game on, with what the teacher spent on
    this attempt in an earlier call; `teacher_record` is kept as it is.
    """
    start = time.perf_counter()
    game = open_game(environment, game_id)
    steps: list[Step] = []
    opening, end = "", None
    done, thought, wanted = "", None, None  # the action that nothing followed yet, and what went with it
    try:
        opening = game.reset()
        teacher.begin(game.task, opening)
        while end is None and not game.done and len(steps) < max_steps:
            action = teacher.act()
            if action is None:
                end = getattr(teacher, "gave_up_for", "lost")
                continue
            done, thought, wanted = action, getattr(teacher, "thought", None), getattr(teacher, "wanted", None)
            steps.append(Step(action, game.step(action), thought, wanted))
            done, thought, wanted = "", None, None
            if not game.done:
                teacher.observe(action, steps[-1].observation)
    except WorldBroke as broke:  # what was played and paid for is kept
        steps.append(Step(done, str(broke), thought, wanted))
        end = "environment"
    tokens, replayed_seconds = None, 0.0
    try:
        tokens, replayed_seconds = getattr(teacher, "tokens", None), getattr(teacher, "replayed_seconds", 0.0)
    except WorldBroke as broke:
        steps, end = [*steps, Step("", str(broke))], "environment"
    won = game.won and end != "environment"
    return Trajectory(
        environment=environment.name,
        game=game_id,
        split=game.split,
        kind=game.kind,
        task=game.task,
        opening=opening,
        steps=tuple(steps),
        won=won,
        score=game.score,
        end="won" if won else end or ("lost" if game.done else "steps"),
        teacher=dict(teacher_record),
        seconds=round(time.perf_counter() - start + replayed_seconds, 4),
        tokens=dict(tokens) if tokens else None,
    )
