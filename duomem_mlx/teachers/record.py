"""Writing down what a teacher does in a game."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from duomem_mlx.environment import Environment, Teacher
from duomem_mlx.guarded import WorldBroke, open_game
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
    another end); with `steps`; or with `environment` when the game raised, told as what followed the last action.
    `seconds` is wall time from opening the game on, with what the teacher spent on this attempt in an earlier call;
    `teacher_record` is kept as it is.
    """
    start = time.perf_counter()
    game = open_game(environment, game_id)
    steps: list[Step] = []
    opening, end = "", None
    try:
        opening = game.reset()
    except WorldBroke as broke:
        steps, end = [Step("", str(broke))], "environment"
    else:
        teacher.begin(game.task, opening)
    while end is None and not game.done and len(steps) < max_steps:
        action = teacher.act()
        if action is None:
            end = getattr(teacher, "gave_up_for", "lost")
            continue
        try:
            observation = game.step(action)
        except WorldBroke as broke:  # what was played and paid for is kept
            observation, end = str(broke), "environment"
        teacher.observe(action, observation)
        steps.append(Step(action, observation, getattr(teacher, "thought", None)))
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
        end="won" if game.won else end or ("lost" if game.done else "steps"),
        teacher=dict(teacher_record),
        seconds=round(time.perf_counter() - start + getattr(teacher, "replayed_seconds", 0.0), 4),
        tokens=dict(tokens) if (tokens := getattr(teacher, "tokens", None)) else None,
    )
