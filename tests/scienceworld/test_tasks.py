import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.environment import ordered
from duomem_mlx.errors import UsageError
from duomem_mlx.scienceworld import tasks
from duomem_mlx.scienceworld.environment import ScienceWorld


def test_the_splits_hold_every_variation_once() -> None:
    for task, sizes in tasks.SIZES.items():
        of_split = {split: list(tasks.variations(task, split)) for split in tasks.SPLITS}
        assert [*of_split["train"], *of_split["dev"], *of_split["test"]] == list(range(sum(sizes)))
        assert all(tasks.split_of(task, number) == split for split, numbers in of_split.items() for number in numbers)


def test_all_games_of_a_split_are_listed_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert len(ScienceWorld().tasks("train")) == 3592
    assert len({*ScienceWorld().tasks("test")}) == 1819


@given(st.integers(1, 400), st.sampled_from(tasks.SPLITS), st.sampled_from(list(tasks.SIZES)))
def test_a_few_of_a_task_are_spread_over_its_split(most: int, split: str, task: str) -> None:
    chosen = [tasks.task_and_variation(game)[1] for game in tasks.ids_of(f"{split}:{task}:{most}")]
    held = tasks.variations(task, split)
    assert chosen == sorted({*chosen} & {*held})
    assert len(chosen) == min(most, len(held))
    assert chosen[0] == held[0]
    assert not chosen[1:] or chosen[-1] > held[0] + len(held) // 4


def test_the_short_tasks_are_ten_at_least_and_every_prefix_is_fair() -> None:
    games = ordered(ScienceWorld(), "test:short:5")
    assert len({ScienceWorld().kind(game) for game in games}) == len(tasks.SHORT_TASKS) >= 10
    assert len({ScienceWorld().kind(game) for game in games[: len(tasks.SHORT_TASKS)]}) == len(tasks.SHORT_TASKS)


NONE = (
    "/ boil boil/30 boil/-1 boil/01 boil/1/2 swim/1 train:swim train:boil,,melt valid_seen train:short:0 train:short:x "
    "train:short:1:1 train:short:99999999999"
)


@pytest.mark.parametrize("spec", ["", *NONE.split()])
def test_what_names_no_games_is_told(spec: str) -> None:
    with pytest.raises(UsageError):
        tasks.ids_of(spec)


@given(st.text(max_size=30))
def test_any_name_gives_games_or_a_sentence(spec: str) -> None:
    with contextlib.suppress(UsageError):
        assert all(tasks.task_and_variation(game) for game in tasks.ids_of(spec))
