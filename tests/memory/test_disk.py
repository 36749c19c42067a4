"""A folder that cannot be written, and a disk without space: what is there can be read, and stays as it is."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory import live, matrix
from duomem_mlx.memory.bank import Bank
from tests.memory.hashing import HashingEncoder, memory

ENCODER = HashingEncoder()
NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def as_a_user_without_rights(act: Callable[[], None]) -> None:
    """In a process of its own, and not as root, to whom every folder is writable."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        said = b""
        try:
            if os.getuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            act()
        except BaseException as error:
            said = repr(error).encode()
        os.write(writer, said)
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as file:
        assert file.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the rights of POSIX")
@pytest.mark.parametrize("matrix_is_there", [True, False])
def test_a_read_only_folder_is_read(folder: Path, matrix_is_there: bool) -> None:
    path = folder / "bank"
    with Bank.create(path, ENCODER) as bank:
        ids = bank.add([memory(f"task {n}") for n in range(9)])
        if matrix_is_there:
            bank.search("task 1")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    for file in path.iterdir():
        file.chmod(0o444)
    path.chmod(0o555)

    def read() -> None:
        bank = Bank.open(path, ENCODER)
        assert len(bank) == len(list(bank)) == 9
        assert bank.search("task 3", 1)[0].memory.task == "task 3"
        assert bank.verify() == []
        for change in (lambda: bank.add([memory()]), lambda: bank.forget(ids), lambda: bank.credit(ids, True)):
            with pytest.raises(DuomemError, match="its folder is read-only"):
                change()
        with pytest.raises(DuomemError, match="cannot be written: Permission denied"):
            bank.export(path / "sealed")
        with pytest.raises(DuomemError, match="cannot be written: Permission denied"):
            Bank.create(path / "new", ENCODER)

    as_a_user_without_rights(read)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    path.chmod(0o755)


def test_a_disk_without_space_for_the_matrix_does_not_keep_from_searching(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank.create(folder / "bank", ENCODER)
    bank.add([memory(f"task {n}") for n in range(9)])
    full = True

    def refuse(handle: int, data: bytes, offset: int) -> int:
        if full:
            raise OSError(28, "No space left on device")
        return write(handle, data, offset)

    write = os.pwrite
    monkeypatch.setattr(matrix.os, "pwrite", refuse)
    assert bank.search("task 3", 1)[0].memory.task == "task 3"
    bank.forget([bank.search("task 3", 1)[0].memory.id])
    assert bank.search("task 3", 1)[0].memory.task != "task 3"
    bank.add([memory("task 99")])
    assert bank.search("task 99", 1)[0].memory.task == "task 99"
    assert not (folder / "bank" / live.MATRIX).exists()
    full = False
    bank.add([memory("task 100")])
    assert bank.search("task 100", 1)[0].memory.task == "task 100"
    assert (folder / "bank" / live.MATRIX).exists()
    assert bank.verify() == []


def test_a_full_disk_leaves_an_export_undone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = Bank.create(folder / "bank", ENCODER)
    bank.add([memory()])
    bank.export(folder / "sealed")
    before = {file.name: file.read_bytes() for file in (folder / "sealed").iterdir()}
    bank.add([memory("another")])

    def refuse(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DuomemError, match=r"cannot be written: No space left on device\. Free some space"):
        bank.export(folder / "sealed", overwrite=True)
    assert {file.name: file.read_bytes() for file in (folder / "sealed").iterdir()} == before
    assert sorted(os.listdir(folder)) == ["bank", "sealed"]


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="mounting a small disk needs Linux and root")
def test_a_small_disk_that_fills_up(folder: Path) -> None:
    small = folder / "small"
    small.mkdir()
    if shutil.which("mount") is None or os.system(f"mount -t tmpfs -o size=600k tmpfs {small} 2>/dev/null"):
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        bank = Bank.create(small / "bank", ENCODER)
        kept = list[str]()

        def fill() -> None:
            for n in range(1000):
                kept.extend(bank.add([memory(f"task {n}", "x" * 4000)]))
                bank.search(f"task {n}", 1)

        with pytest.raises(DuomemError, match=r"full|space"):
            fill()
        assert len(kept) > 10
        assert [one.id for one in bank] == sorted(kept)
        assert bank.search("task 3", 1)[0].memory.task == "task 3"
        bank.close()
        with Bank.open(small / "bank", ENCODER) as again:
            assert [one.id for one in again] == sorted(kept)
            assert again.verify() == []
    finally:
        os.system(f"umount {small}")
