"""What a world offers beyond its games, sound and not."""

from types import SimpleNamespace
from typing import Any

import pytest

from duomem_mlx import offers
from duomem_mlx.errors import UsageError
from duomem_mlx.offers import WorldBroke


def world(**offered: Any) -> Any:
    return SimpleNamespace(name="odd", **offered)


def fail(_: object) -> Any:
    raise ValueError("no\nsuch thing")


OFFERS = {
    "refused": offers.refused_by,
    "shorten": offers.shorten_of,
    "normalise": offers.normalise_of,
    "general": offers.general_of,
    "describe": offers.describe_of,
    "place": offers.place_of,
    "commands": offers.commands_of,
    "seen": offers.seen_of,
    "solutions": offers.solutions_of,
}


@pytest.mark.parametrize("name", OFFERS)
def test_whatever_it_raises_is_one_sentence(name: str) -> None:
    with pytest.raises(WorldBroke) as told:
        OFFERS[name](world(**{name: fail}))("x")
    assert str(told.value) == f"The world's `{name}` raised ValueError: no."
    with pytest.raises(WorldBroke, match="not callable"):
        OFFERS[name](world(**{name: 3}))("x")


@pytest.mark.parametrize(
    ("name", "answer", "fault"),
    [
        ("shorten", None, "gave nothing where a text belongs"),
        ("normalise", b"go", "gave bytes where a text belongs"),
        ("describe", "caf\udce9", "gave bytes that are no text"),
        ("general", 3, "gave int where a text belongs"),
        ("commands", "look", "gave str where a list of texts belongs"),
        ("commands", ["look", 3], "gave int where a text belongs"),
        ("seen", ["desk"], "gave list where places belong"),
        ("seen", {"desk": None}, "raised TypeError"),
        ("solutions", [], "gave none"),
        ("solutions", [["look", None]], "gave nothing where a text belongs"),
    ],
)
def test_so_is_what_cannot_be_kept(name: str, answer: Any, fault: str) -> None:
    with pytest.raises(WorldBroke, match=f"^The world's `{name}` {fault}"):
        OFFERS[name](world(**{name: lambda _: answer}))("x")


def test_what_is_said_well_is_handed_on() -> None:
    assert offers.shorten_of(world(shorten=str.upper))("look") == "LOOK"
    assert offers.refused_by(world(refused=lambda text: text.find("no") + 1))("x no") is True
    assert offers.seen_of(world(seen=lambda texts: {"desk": tuple(texts)}))(["pen"]) == {"desk": ["pen"]}
    assert offers.solutions_of(world(solutions=lambda task: (("a", "b"),)))("t") == [["a", "b"]]


def test_what_is_not_offered_is_none_or_leaves_the_text() -> None:
    assert offers.refused_by(world()) is offers.describe_of(world()) is offers.cause_of(world()) is None
    assert offers.shorten_of(world())("look 1") == offers.general_of(world())("look 1") == "look 1"
    with pytest.raises(UsageError, match="come without solutions"):
        offers.solutions_of(world())


def test_a_cause_that_cannot_be_asked_is_told_in_its_place() -> None:
    assert offers.cause_of(world(cause=lambda episode: None))("e") is None
    assert offers.cause_of(world(cause=lambda episode: "fell"))("e") == "fell"
    assert offers.cause_of(world(cause=fail))("e") == "The world's `cause` raised ValueError: no"
    assert offers.cause_of(world(cause=lambda episode: 3))("e") == "The world's `cause` gave int where a text belongs"
    with pytest.raises(WorldBroke):
        offers.cause_of(world(cause=fail), strictly=True)("e")
