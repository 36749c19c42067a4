import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.environment import ENTRY_POINTS, find_environment, installed_environments, ordered, stratified
from duomem_mlx.errors import DuomemError, UsageError

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


def test_a_package_offers_its_world_by_name_and_a_folder_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "walks-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: walks\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        f"[{ENTRY_POINTS}]\ncorridor = {__name__}:Corridor\nbroken = no_such_package:make\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    assert {"corridor", "broken", "household"} <= installed_environments().keys()
    assert len(ordered(find_environment("corridor", length=4), "train")) == 4
    with pytest.raises(UsageError, match=r"'broken' cannot be loaded: ModuleNotFoundError: No module named"):
        find_environment("broken")
    (tmp_path / "attic.py").write_text(f"from {__name__} import Corridor as make\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert find_environment("attic:make").name == "corridor"


def faulty() -> Any:
    raise RuntimeError("no Java.\nA long story")


def empty() -> Any:
    return object()


def nameless() -> Any:
    return SimpleNamespace(name=None, instructions="", tasks=list, open=str)


def test_a_factory_that_fails_or_gives_something_else_is_told() -> None:
    with pytest.raises(DuomemError, match=r"faulty' cannot be made: RuntimeError: no Java\. Mend"):
        find_environment(f"{__name__}:faulty")
    with pytest.raises(UsageError, match="name, instructions, tasks, open is missing"):
        find_environment(f"{__name__}:empty")
    with pytest.raises(UsageError, match="its `name` is no text"):
        find_environment(f"{__name__}:nameless")


@pytest.mark.parametrize("spec", ["nowhere", "no.such.module:make", f"{__name__}:Missing", ":", "a b:c", ".x:y"])
def test_an_unknown_world_is_told_in_one_sentence(spec: str) -> None:
    with pytest.raises(UsageError, match="environment"):
        find_environment(spec)


def test_an_option_the_world_does_not_take_is_told() -> None:
    with pytest.raises(UsageError, match="does not take"):
        find_environment(f"{__name__}:Corridor", width=1)


def test_an_empty_split_is_told() -> None:
    with pytest.raises(UsageError, match="holds no games"):
        ordered(Corridor(), "test")


def test_what_an_exception_says_can_be_printed_and_kept() -> None:
    from duomem_mlx.environment import told

    assert told(OSError("gone.\nMore.")) == "OSError: gone"
    assert told(OSError("half \ud800")) == r"OSError: half \ud800"
    assert told(OSError("x" * 1_000_000)) == f"OSError: {'x' * 200}…"
    assert told(ValueError()) == "ValueError"
