"""Banks of every format that was ever released open as they were written then (golden/, made by the release itself)."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

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


def live(tmp_path: Path) -> Path:
    (tmp_path / "live").mkdir()
    with sqlite3.connect(tmp_path / "live" / "bank.sqlite3") as db:
        db.executescript((GOLDEN / "live-1.sql").read_text(encoding="utf-8"))
    db.close()
    return tmp_path / "live"


@pytest.mark.parametrize("form", [sealed, live])
def test_format_1(form, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with Bank.open(form(tmp_path), ENCODER) as bank:
        assert set(bank) == KEPT
        assert (bank.encoder_id, bank.dimensions, bank.by) == ("hashing", 4, "task")
        assert bank.built_from == "0123456789abcdef"
        assert bank.verify() == []
        (hit,) = bank.search("put some box on dresser", 1)
        assert hit.memory.strength == 2
        assert hit.cosine == pytest.approx(1, abs=1e-6)
        if not bank.sealed:
            bank.add([memory("one more")])
            assert len(bank) == 3


def test_the_first_memory_has_the_id_it_always_had() -> None:
    assert sorted(one.id for one in KEPT) == ["238592f3b191dd14", "7110c39b9e8105f3"]
    assert np.load(GOLDEN / "sealed-1" / "vectors.npy").shape == (2, 4)
