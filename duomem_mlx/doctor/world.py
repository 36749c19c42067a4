"""A look at an environment: what it offers, whether it plays, and whether it plays the same twice."""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from duomem_mlx import offers
from duomem_mlx.doctor.checks import ABSENT, FAIL, OK, WARN, Check, safely
from duomem_mlx.environment import (
    Environment,
    ordered,
    parallel_safe,
    side_effects_of,
)
from duomem_mlx.guarded import open_game
from duomem_mlx.offers import WorldBroke
from duomem_mlx.own_teacher import teacher_of
from duomem_mlx.trajectory import Step, Trajectory

MOST_STEPS = 30
WITHOUT_A_TEACHER = ("look", "help", "x")  # what is tried where there is no teacher
OPTIONAL = {  # what an environment may offer -> what goes without it
    "splits": "--games must be given",
    "kind": "one kind of tasks in samples and tables",
    "place": "held out are single games",
    "refused": "no refused actions are told",
    "cause": "no causes of failures are told",
    "teacher": "teach needs --teacher remote, or trajectories are imported",
    "varied_teacher": "one way of winning each game",
    "describe": "memories are the actions in a row",
    "shorten": "texts stay as they are",
}


def examine_world(environment: Environment, splits: Sequence[str], games: int) -> list[Check]:
    """All checks, in the order a person would mend them; `games` of each split are played, twice."""
    checks = [_words(environment)]
    for split in splits:
        checks += safely(split, partial(_split, environment, split))
    if not splits:
        checks.append(Check("splits", FAIL, "No split is named.", "Name some with --games, or offer `splits`."))
    if any(check.status == FAIL for check in checks):
        return checks
    checks += safely("apart", lambda: _apart(environment, splits))
    for split in splits:
        for task_id in ordered(environment, split, games):
            checks += safely(task_id, partial(_played_twice, environment, task_id))
    checks += safely("offers", lambda: list(_offers(environment)))
    return checks


def _words(environment: Environment) -> Check:
    for name in ("name", "instructions"):
        value = getattr(environment, name)
        if not isinstance(value, str) or not value.strip():
            return Check(name, FAIL, f"It is {value!r}, no text.", "Make it a text; `instructions` say how to act.")
    how = [] if parallel_safe(environment) else ["one game at a time"]
    if effects := side_effects_of(environment):
        how.append(f"playing {effects}")
    return Check("environment", OK, ", ".join([environment.name, *how]))


def _split(environment: Environment, split: str) -> Check:
    tasks = ordered(environment, split)
    if len(set(tasks)) < len(tasks):
        return Check(split, FAIL, f"{len(tasks) - len(set(tasks))} ids stand there twice.", "Give each task its own.")
    if ordered(environment, split) != tasks:
        return Check(split, FAIL, "`tasks` gives others when it is asked again.", "Draw them from a seed.")
    return Check(split, OK, f"{len(tasks)} games")


def _apart(environment: Environment, splits: Sequence[str]) -> Check:
    for one, other in itertools.combinations(splits, 2):
        if both := set(environment.tasks(one)) & set(environment.tasks(other)):
            what = f"{len(both)} games are in {one} and in {other}."
            return Check("apart", WARN, what, "Measure on games that were not trained on.")
    return Check("apart", OK, "no game is in two splits")


def _played_twice(environment: Environment, task_id: str) -> Check:
    try:
        first = _played(environment, task_id, None)
        again = _played(environment, task_id, first["actions"])
        _ask(environment, first["played"])
    except WorldBroke as broke:
        return Check(task_id, FAIL, broke.what, "Mend that; while it lasts such games count as not won.")
    fix = "Let all chance in a game come from its id, and `reset` put back everything."
    if first["texts"][0] != again["texts"][0]:
        return Check(task_id, WARN, "It opens with another text the second time.", fix)
    if first["opened_again"] != first["texts"][0]:
        return Check(task_id, WARN, "`reset` after a few steps does not give the opening.", fix)
    if first != again:
        return Check(task_id, WARN, "The same actions have another outcome the second time.", fix)
    if first["own_id"] != task_id:
        return Check(task_id, WARN, f"The game calls itself {first['own_id']!r}.", "Let `id` be what it is opened by.")
    done, won, score = first["verdict"]
    if won and not (done and score == 1):
        return Check(task_id, WARN, "It is won, but not over or its `score` is not 1.", "Mend the verdict.")
    how = "won" if won else "lost" if done else "not over"
    return Check(task_id, OK, f"{how} after {len(first['actions'])} actions, score {score:g}; the same twice")


def _played(environment: Environment, task_id: str, actions: Sequence[str] | None) -> dict[str, Any]:
    """What came of a game: played by its teacher, else by a few words, or by the actions of before."""
    game = open_game(environment, task_id)
    texts, done = [game.reset()], list[str]()
    for action in _actions(environment, game.task, texts) if actions is None else actions:
        texts.append(game.step(action))
        done.append(action)
        if game.done or len(done) == MOST_STEPS:
            break
    verdict = (game.done, game.won, game.score)
    played = Trajectory(
        environment=environment.name,
        game=task_id,
        split=game.split,
        kind=game.kind,
        task=game.task,
        opening=texts[0],
        steps=tuple(map(Step, done, texts[1:])),
        won=game.won,
        score=game.score,
        end="won" if game.won else "lost" if game.done else "steps",
        teacher={"kind": "check"},
        seconds=0.0,
        created="",
    )
    return {
        "own_id": game.own_id,
        "texts": texts,
        "actions": done,
        "verdict": verdict,
        "played": played,
        "opened_again": game.reset(),
    }


def _ask(environment: Environment, played: Trajectory) -> None:
    """Ask the world of a game what it offers to say of one. Raises WorldBroke."""
    texts = [played.opening, *(step.observation for step in played.steps)]
    for of_text in (offers.refused_by, offers.shorten_of, offers.general_of):
        if (ask := of_text(environment)) is not None:
            for text in texts:
                ask(text)
    for action in played.actions:
        offers.normalise_of(environment)(action)
    if (place := offers.place_of(environment)) is not None:
        place(played.game)
    for of_texts in (offers.commands_of, offers.seen_of):
        if (said := of_texts(environment)) is not None:
            said(texts)
    told = offers.describe_of(environment) if played.won else offers.cause_of(environment, strictly=True)
    if told is not None:
        told(played)


def _actions(environment: Environment, task: str, texts: Sequence[str]) -> Iterator[str]:
    if getattr(environment, "teacher", None) is None:
        yield from WITHOUT_A_TEACHER
        return
    teacher = teacher_of(environment)
    teacher.begin(task, texts[0])
    while (action := teacher.act()) is not None:
        yield action
        teacher.observe(action, texts[-1])


def _offers(environment: Environment) -> Iterator[Check]:
    for name, without in OPTIONAL.items():
        if getattr(environment, name, None) is None:
            yield Check(name, ABSENT, without)
