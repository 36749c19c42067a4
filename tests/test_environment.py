from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.environment import find_environment, ordered, stratified
from duomem_mlx.errors import UsageError

KINDS = st.dictionaries(st.text("abcxyz/_0123", min_size=1, max_size=12), st.sampled_from("pqrs"), min_size=1)


@given(KINDS)
def test_every_prefix_holds_the_kinds_in_their_proportion(tasks: dict[str, str]) -> None:
    order = stratified(tasks.items())
    assert sorted(order) == sorted(tasks)
    whole = Counter(tasks.values())
    for n in range(1, len(order) + 1):
        prefix = Counter(tasks[task] for task in order[:n])
        for kind, count in whole.items():
            assert abs(prefix[kind] - n * count / len(order)) <= len(whole)


@given(KINDS, st.randoms())
def test_the_order_does_not_depend_on_how_the_files_were_listed(tasks: dict[str, str], random: Any) -> None:
    shuffled = list(tasks.items())
    random.shuffle(shuffled)
    assert stratified(shuffled) == stratified(tasks.items())


class Corridor:
    name = "corridor"
    instructions = "Walk."

    def __init__(self, length: int = 3) -> None:
        self.length = length

    def tasks(self, split: str) -> list[str]:
        return [f"{split}/{i}" for i in range(self.length)] if split == "train" else []

    def open(self, task_id: str) -> Any:
        raise NotImplementedError


def test_a_world_is_found_by_module_and_factory() -> None:
    world = find_environment(f"{__name__}:Corridor", length=5)
    assert len(ordered(world, "train")) == 5
    assert ordered(world, "train", 2) == ordered(world, "train")[:2]


@pytest.mark.parametrize("spec", ["nowhere", "no.such.module:make", f"{__name__}:Missing", ":"])
def test_an_unknown_world_is_told_in_one_sentence(spec: str) -> None:
    with pytest.raises(UsageError, match="environment"):
        find_environment(spec)


def test_an_option_the_world_does_not_take_is_told() -> None:
    with pytest.raises(UsageError, match="does not take"):
        find_environment(f"{__name__}:Corridor", width=1)


def test_an_empty_split_is_told() -> None:
    with pytest.raises(UsageError, match="holds no games"):
        ordered(Corridor(), "test")
