"""What commands do in a world where a call does not say otherwise."""

from types import SimpleNamespace
from typing import Any

import pytest

from duomem_mlx.defaults import (
    Defaults,
    defaults_of,
    first_games,
    many_games,
    measured_on,
    taught_on,
)
from duomem_mlx.environment import ordered
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.household.environment import household
from duomem_mlx.paths import shipped


def world(*splits: str, **offered: Any) -> Any:
    return SimpleNamespace(name="walks", splits=splits, **offered)


def test_a_world_that_says_nothing_is_taught_on_its_first_split_and_measured_on_its_second() -> None:
    plain = world("one", "two", "three")
    assert (taught_on(plain), measured_on(plain), first_games(plain), many_games(plain)) == ("one", "two", "two", "two")
    assert defaults_of(plain) == Defaults(max_steps=30, adapter="", memories="")
    assert (taught_on(world("one")), measured_on(world("one"))) == ("one", "one")
    for odd in ("train", 7, [b"train"]):
        with pytest.raises(DuomemError, match="The `splits` of walks are"):
            taught_on(SimpleNamespace(name="walks", splits=odd))
    assert taught_on(world()) == "train"
    with pytest.raises(UsageError, match=r"walks names no splits\. Name games with --games"):
        measured_on(world())


def test_what_a_world_says_is_taken() -> None:
    told = world("one", "two", defaults=Defaults(max_steps=7, first="a few", many="a lot"))
    assert (first_games(told), many_games(told), defaults_of(told).max_steps) == ("a few", "a lot", 7)
    assert (taught_on(told), measured_on(told)) == ("one", "two")


def test_the_households_are_there() -> None:
    home = household()
    assert (taught_on(home), measured_on(home)) == ("train", "valid_seen")
    assert len(ordered(home, first_games(home))) == 12
    assert len(ordered(home, many_games(home))) >= 20
    assert shipped("adapters", home.defaults.adapter) is not None
    assert shipped("memories", home.defaults.memories) is not None
