"""Banks of every format that was ever released open as they were written then (golden/, made by the release itself)."""

import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory.bank import Bank
from tests.memory.hashing import HashingEncoder, memory

GOLDEN = Path(__file__).parent / "golden"
ENCODER = HashingEncoder(4)
KEPT = {
    memory("put some box on dresser", uses=3, wins=2, strength=2),
    memory("find two pen and put them in drawer", "Take one, put it down, then the other.", game="g2"),
}


def sealed(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "sealed-1", tmp_path / "sealed"))


def live(tmp_path: Path, version: int = 1) -> Path:
    (tmp_path / "live").mkdir()
    with sqlite3.connect(tmp_path / "live" / "bank.sqlite3") as db:
        db.executescript((GOLDEN / f"live-{version}.sql").read_text(encoding="utf-8"))
    db.close()
    return tmp_path / "live"


def live_2(tmp_path: Path) -> Path:
    return live(tmp_path, 2)


@pytest.mark.parametrize("form", [sealed, live, live_2])
def test_banks_of_every_format_open(form, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with Bank.open(form(tmp_path), ENCODER) as bank:
        assert set(bank) == KEPT
        assert (bank.encoder_id, bank.dimensions, bank.by) == ("hashing", 4, "task")
        assert bank.built_from == "0123456789abcdef"
        assert bank.verify() == []
        (hit,) = bank.search("put some box on dresser", 1)
        assert hit.memory.strength == 2
        assert hit.cosine == pytest.approx(1, abs=1e-6)
        assert bank.learnt("memories/0/g1") is (form is live_2)
        if not bank.sealed:
            bank.add([memory("one more")])
            assert len(bank) == 3


def format_of(file: Path) -> int:
    with sqlite3.connect(file) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(version)


def test_format_1_becomes_2_when_it_learns_and_a_copy_is_kept(tmp_path: Path) -> None:
    path = live(tmp_path)
    (used,) = (one.id for one in KEPT if one.uses)
    other = Bank.open(path, ENCODER)
    with Bank.open(path, ENCODER) as bank:
        bank.credit([used], won=True)
        assert format_of(path / "bank.sqlite3") == 1
        assert not bank.learnt("e1")
        for _ in range(2):
            bank.change(used=[used], won=True, add=[memory("one more")], episode="e1")
        assert bank.learnt("e1")
        assert (bank.get(used).uses, bank.get(used).wins) == (5, 4)
        assert [one.strength for one in bank if one.task == "one more"] == [1]
        assert bank.verify() == []
    assert format_of(path / "bank.sqlite3") == 2
    other.change(used=[used], episode="e2")  # it was open meanwhile
    assert other.learnt("e1")
    assert other.get(used).uses == 6
    other.close()
    (tmp_path / "old").mkdir()
    shutil.copy(path / "bank.sqlite3.format-1", tmp_path / "old" / "bank.sqlite3")
    assert format_of(tmp_path / "old" / "bank.sqlite3") == 1
    with Bank.open(tmp_path / "old", ENCODER) as old:
        assert old.verify() == []
        assert old.get(used).uses == 4
        assert len(old) == 2
    assert sorted(file.name for file in path.iterdir() if "format" in file.name) == ["bank.sqlite3.format-1"]


def test_what_is_forgotten_is_not_in_the_copy_either(tmp_path: Path) -> None:
    path = live(tmp_path)
    with Bank.open(path, ENCODER) as bank:
        bank.change(episode="e1")
        assert (path / "bank.sqlite3.format-1").exists()
        bank.forget([next(iter(bank)).id])
    assert not (path / "bank.sqlite3.format-1").exists()


def test_a_disk_without_space_for_the_copy_leaves_format_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = live(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with Bank.open(path, ENCODER) as bank:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(DuomemError, match="No space left"):
                bank.change(add=[memory("one more")], episode="e1")
        assert len(bank) == 2
        assert format_of(path / "bank.sqlite3") == 1
        assert not [file for file in path.iterdir() if "format" in file.name]
        bank.change(add=[memory("one more")], episode="e1")
        assert len(bank) == 3


def test_the_first_memory_has_the_id_it_always_had() -> None:
    assert sorted(one.id for one in KEPT) == ["238592f3b191dd14", "7110c39b9e8105f3"]
    assert np.load(GOLDEN / "sealed-1" / "vectors.npy").shape == (2, 4)
