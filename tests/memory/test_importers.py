import json
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.memory.importers import read_foreign
from duomem_mlx.memory.record import to_record
from tests.memory.fuzz import fuzz_import
from tests.memory.hashing import memory


def written(folder: Path, *lines: Any) -> Path:
    file = folder / "memories.jsonl"
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def test_fields_have_any_name(tmp_path: Path) -> None:
    line = {"query": " put it ", "meta": {"how": "Take it.", "run": {"acts": ["go", {"action": "take"}]}}, "game": "g"}
    fields = {"task": "query", "script": "meta.how", "steps": "meta.run.acts"}
    (one,) = read_foreign(written(tmp_path, line), fields, "kitchen").memories
    assert (one.task, one.script, one.steps) == ("put it", "Take it.", ("go", "take"))
    assert (one.source.environment, one.source.game, one.source.teacher) == ("kitchen", "g", "imported")
    assert (one.key, one.uses, one.strength) == ("put it", 0, 1)


@pytest.mark.parametrize("steps", [["go", "take"], [{"action": "go"}, {"action": "take", "x": 1}], "go\n\ntake\n"])
def test_steps_come_in_three_ways(tmp_path: Path, steps: Any) -> None:
    (one,) = read_foreign(written(tmp_path, {"task": "t", "steps": steps}), {}, "e").memories
    assert one.steps == ("go", "take")
    assert one.script == ""


def test_an_array_and_our_own_lines_are_read_too(tmp_path: Path) -> None:
    own = memory(uses=3, wins=2)
    file = tmp_path / "all.json"
    file.write_text(json.dumps([{"task": "t", "script": "s"}, to_record(own)], indent=1))
    first, second = read_foreign(file, {}, "e").memories
    assert first.task == "t"
    assert second == own


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    lines = ['{"task": "t', "[]", {"task": ""}, {"task": "t"}, {"task": 3}, {"task": "t", "steps": [1]}, "", "{}"]
    found = read_foreign(written(tmp_path, {"task": "t", "script": "s"}, *lines), {}, "e")
    assert len(found.memories) == 1
    assert found.left_out == {
        "is not whole JSON.": 1,
        "is not a JSON object.": 1,
        "has no task.": 2,
        "has neither script nor steps.": 1,
        "has task of another kind than text.": 1,
        "has steps of another kind than a list of actions.": 1,
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"memories\.jsonl is empty\. Give JSON Lines, or a bank's folder\.$"),
        (
            b"\x00\xff\n\x01",
            r"no memory; of its lines: is not whole JSON \(2\)\. Give JSON Lines, or a bank's folder\.$",
        ),
        (b'{"task": "t", "scr', r"no memory; of its lines: is not whole JSON \(1\)\. Give JSON Lines"),
        (b'{"question": "t", "script": "s"}\n', r"no memory; of its lines: has no task \(1\)\. .*--field OURS=THEIRS"),
        (b"[1, 2", "neither JSON Lines nor one JSON array"),
        (b"x" * 3_000_000, "has more than"),
    ],
)
def test_a_file_that_holds_nothing(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "memories.jsonl"
    file.write_bytes(content)
    with pytest.raises(DuomemError, match=says):
        read_foreign(file, {}, "e")


def test_a_field_we_do_not_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no field vector"):
        read_foreign(tmp_path / "any", {"vector": "v"}, "e")
    with pytest.raises(UsageError, match="cannot be read"):
        read_foreign(tmp_path / "nothing", {}, "e")


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = fuzz_import(2000, seed=1, folder=tmp_path)
    assert min(outcomes.values()) > 100
