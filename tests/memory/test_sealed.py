import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.sealed import HEAD, MEMORIES, VECTORS
from tests.memory.fuzz import fuzz_sealed
from tests.memory.hashing import HashingEncoder, memory

ENCODER = HashingEncoder(dimensions=16)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    with Bank.create(tmp_path / "live", ENCODER) as bank:
        bank.add([memory(f"put some {thing} on shelf") for thing in ("box", "pen", "mug")])
        bank.export(tmp_path / "sealed")
    return tmp_path / "sealed"


def reseal(folder: Path, change: Callable[[dict[str, Any]], None] = lambda head: None) -> None:
    head = json.loads((folder / HEAD).read_text())
    for name in (MEMORIES, VECTORS):
        data = (folder / name).read_bytes()
        head["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change(head)
    (folder / HEAD).write_text(json.dumps(head))


def refused(folder: Path, says: str) -> None:
    with pytest.raises(DuomemError, match=says):
        Bank.open(folder, ENCODER)


def test_others_can_read_it(sealed: Path) -> None:
    head = json.loads((sealed / HEAD).read_text())
    assert head["format"] == 1
    assert head["encoder"] == {"id": "hashing", "fingerprint": ENCODER.fingerprint}
    vectors = np.load(sealed / VECTORS, allow_pickle=False)
    records = [json.loads(line) for line in (sealed / MEMORIES).read_text(encoding="utf-8").splitlines()]
    assert vectors.shape == (head["count"], head["dimensions"]) == (3, 16)
    np.testing.assert_array_equal(vectors, ENCODER.encode([record["task"] for record in records]))
    assert [record["id"] for record in records] == sorted(record["id"] for record in records)


def test_the_same_memories_give_the_same_bytes(sealed: Path, tmp_path: Path) -> None:
    with Bank.create(tmp_path / "other", ENCODER) as bank:
        for thing in ("mug", "nothing", "pen", "box"):
            bank.add([memory(f"put some {thing} on shelf")])
        bank.forget([one.id for one in bank if "nothing" in one.task])
        bank.export(tmp_path / "again")
    for name in (HEAD, MEMORIES, VECTORS):
        assert (tmp_path / "again" / name).read_bytes() == (sealed / name).read_bytes()


def test_it_cannot_be_changed(sealed: Path) -> None:
    bank = Bank.open(sealed, ENCODER)
    (id_,) = [one.id for one in bank if "box" in one.task]
    for change in (lambda: bank.add([memory()]), lambda: bank.forget([id_]), lambda: bank.credit([id_], True)):
        with pytest.raises(UsageError, match=r"is sealed\. `memories import`"):
            change()


def test_a_changed_file_is_refused(sealed: Path) -> None:
    for name in (MEMORIES, VECTORS):
        data = (sealed / name).read_bytes()
        middle = len(data) // 2
        (sealed / name).write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        refused(sealed, "hash is not the one")
        (sealed / name).write_bytes(data[:-1])
        refused(sealed, "bytes where bank.json says")
        (sealed / name).unlink()
        refused(sealed, "cannot be read")
        (sealed / name).write_bytes(data)
    assert Bank.open(sealed, ENCODER).verify() == []


def test_verify_sees_a_change_made_after_opening(sealed: Path) -> None:
    bank = Bank.open(sealed, ENCODER)
    (sealed / MEMORIES).write_bytes(b"")
    assert "bytes where bank.json says" in bank.verify()[0]


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        (np.full((3, 16), np.nan, np.float32), "not finite"),
        (np.zeros((3, 16), np.float32), "unit length"),
        (np.full((2, 16), 0.25, np.float32), r"shape is \[2, 16\] where bank.json says \[3, 16\]"),
        (np.full((3, 16), 0.25, np.float64), "not a little-endian float32"),
        (np.asfortranarray(np.full((3, 16), 0.25, np.float32)), "not a little-endian float32"),
        (np.array([{}] * 3, object), "not a little-endian float32"),
    ],
)
def test_vectors_of_another_kind(sealed: Path, vectors: Any, says: str) -> None:
    np.save(sealed / VECTORS, vectors, allow_pickle=True)
    reseal(sealed)
    refused(sealed, says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda head: head.update(format=2), "Install a newer duomem-mlx"),
        (lambda head: head.update(count=2), "has 3 memories, not 2"),
        (lambda head: head.update(count=True), "count missing or of another kind"),
        (lambda head: head.pop("encoder"), "encoder missing"),
        (lambda head: head.update(dimensions=0), "dimensions missing"),
        (lambda head: head["files"].update({"../../.bashrc": head["files"][MEMORIES]}), "files missing"),
        (lambda head: head["files"].pop(VECTORS), "files missing"),
    ],
)
def test_a_head_of_another_kind(sealed: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    reseal(sealed, change)
    refused(sealed, says)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\x00", '{"format": 1e999}'])
def test_a_head_that_is_none(sealed: Path, text: str) -> None:
    (sealed / HEAD).write_text(text)
    refused(sealed, "bank.json")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"task": "put', "is cut short"),
        (b'{"task": "put\n', "is not whole JSON"),
        (b"\n", "is not whole JSON"),
        (b"[" * 100_000 + b"\n", "is not whole JSON"),
        (b"\xff\xfe\n", "is not whole JSON"),
        (b"[]\n", "a JSON object was expected"),
        (b'{"task": "' + b"x" * 3_000_000 + b'"}\n', "has more than"),
    ],
)
def test_a_line_that_is_no_memory(sealed: Path, line: bytes, says: str) -> None:
    with (sealed / MEMORIES).open("ab") as file:
        file.write(line)
    reseal(sealed)
    refused(sealed, f"Line 4 of .*{says}")


def test_memories_twice_or_out_of_order(sealed: Path) -> None:
    lines = (sealed / MEMORIES).read_bytes().splitlines(keepends=True)
    for other in ([lines[0], lines[0], lines[2]], lines[::-1]):
        (sealed / MEMORIES).write_bytes(b"".join(other))
        reseal(sealed)
        refused(sealed, "not each there once, by id")


def test_an_export_does_not_touch_what_is_there(sealed: Path, tmp_path: Path) -> None:
    bank = Bank.open(sealed, ENCODER)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is there already"):
            bank.export(tmp_path / "taken", overwrite)
    with pytest.raises(UsageError, match="is there already"):
        bank.export(sealed)
    assert (tmp_path / "taken" / "letter").read_text() == "dear"
    assert sorted(os.listdir(tmp_path)) == ["live", "sealed", "taken"]


def test_a_bank_over_itself(sealed: Path, tmp_path: Path) -> None:
    bank = Bank.open(sealed, ENCODER)
    assert bank.export(sealed, overwrite=True) == 3
    assert Bank.open(sealed, ENCODER).verify() == []
    assert sorted(os.listdir(tmp_path)) == ["live", "sealed"]


def test_mutated_banks_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = fuzz_sealed(2000, seed=1, folder=tmp_path)
    assert outcomes["refused"] > 1000
    assert outcomes["read"] > 20
