from typing import Any

import pytest

from duomem_mlx.evaluation.causes import failures, manner
from duomem_mlx.trajectory import Episode, PlayedStep


def episode(flags: list[tuple[str, ...]], end: str = "steps", won: bool = False) -> Any:
    steps = tuple(
        PlayedStep("go", "there", tokens_new=1, tokens_cached=0, tokens_out=1, seconds=0.1, flags=flag)
        for flag in flags
    )
    return Episode(
        environment="e", game="g", split="train", kind="", task="t", opening="o", steps=steps, won=won,
        score=float(won), end="won" if won else end, teacher={}, seconds=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "end", "told"),
    [
        ([("refused",), ("refused", "loop"), ()], "steps", "refused commands"),
        ([("refused", "loop"), ("refused", "loop"), ()], "steps", "went round in a loop"),
        ([("no_action", "cut"), ()], "steps", "said nothing to act on"),
        ([("refused",), (), ()], "steps", "out of steps"),
        ([(), ()], "environment", "the environment broke"),
        ([], "context", "out of context"),
    ],
)
def test_the_manner_is_what_half_of_the_steps_say_else_the_end(flags, end, told):
    assert manner(episode(flags, end)) == told


def test_only_games_not_won_are_counted_and_most_frequent_come_first():
    lost = [episode([()]), episode([()]), episode([("refused",)])]
    found = failures([*lost, episode([()], won=True)], lambda one: None if one.steps[0].flags else "lost the way")
    assert found == {
        "causes": {"lost the way": 2, "not said": 1},
        "manners": {"out of steps": 2, "refused commands": 1},
    }
    assert failures(lost, None)["causes"] == {}
