import os
import tempfile
import time
from pathlib import Path

import pytest

from duomem_mlx import paths
from duomem_mlx.errors import UsageError
from duomem_mlx.memory.folders import DATABASE, HEAD, replacing_bank
from duomem_mlx.paths import alone_in


def made(folder: Path, text: str, overwrite: bool = False) -> None:
    with replacing_bank(folder, overwrite) as part:
        (part / HEAD).write_text(text)


def test_a_bank_is_replaced_whole_when_asked_and_not_else(tmp_path: Path) -> None:
    made(tmp_path / "bank", "one")
    with pytest.raises(UsageError, match="is there already"):
        made(tmp_path / "bank", "two")
    made(tmp_path / "bank", "three", overwrite=True)
    assert (tmp_path / "bank" / HEAD).read_text() == "three"
    with pytest.raises(ZeroDivisionError), replacing_bank(tmp_path / "bank", True):
        raise ZeroDivisionError
    assert (tmp_path / "bank" / HEAD).read_text() == "three"
    assert os.listdir(tmp_path) == ["bank"]


def test_what_is_no_banks_is_never_taken_away(tmp_path: Path) -> None:
    made(tmp_path / "bank", "one")
    (tmp_path / "bank" / "trajectories.jsonl").write_text("dear")
    with pytest.raises(UsageError, match=r"holds trajectories\.jsonl beside its bank"):
        made(tmp_path / "bank", "two", overwrite=True)
    assert (tmp_path / "bank" / "trajectories.jsonl").read_text() == "dear"
    assert (tmp_path / "bank" / HEAD).read_text() == "one"


def test_what_killed_processes_left_is_swept_up_and_nothing_else(tmp_path: Path) -> None:
    killed, busy, fresh = (Path(tempfile.mkdtemp(prefix=".bank.", dir=tmp_path)) for _ in range(3))
    yours = Path(tempfile.mkdtemp(prefix=".bank.", dir=tmp_path))
    (killed / DATABASE).touch()
    (yours / "letter").touch()
    before = time.time() - 2 * paths.LEFT_SECONDS
    for old in (killed, busy, yours):
        os.utime(old, (before, before))
    with alone_in(busy):
        made(tmp_path / "bank", "one")
    assert sorted(tmp_path.iterdir()) == sorted([busy, fresh, yours, tmp_path / "bank"])
