"""Killed, or out of space, at every call that changes a file: the state before or after each change, nothing between,
and nothing lost that was reported as done."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from duomem_mlx.memory.bank import Bank
from tests.memory.stopped import ENCODER, SCENARIOS

ROOT = Path(__file__).parents[2]
MOMENTS = {
    "learns": 50,
    "adds": 100,
    "forgets": 100,
    "exports": 20,
    "imports": 100,
}  # fewer would mean that they are not counted


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("stopping at system calls needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "stop_at.so"
    source = Path(__file__).with_name("stop_at.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def folder() -> Iterator[Path]:
    """In RAM where that can be had: a thousand calls of fsync are not what is tested."""
    ram = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=ram if os.access(ram, os.W_OK) else None) as name:
        yield Path(name)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["before", "half-way", "full"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_stopped_at_calls_that_change_a_file(scenario: str, how: str, step: int, shim: Path, folder: Path) -> None:
    settings = {**os.environ, "LD_PRELOAD": str(shim), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.memory.stopped", scenario, how, str(folder), str(step)]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= MOMENTS[scenario] // step


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("scenario", ["adds", "forgets"])
def test_stopped_while_another_process_writes(scenario: str, step: int, shim: Path, folder: Path) -> None:
    test_stopped_at_calls_that_change_a_file(scenario, "beside", step, shim, folder)


WRITER = """
import sys
from pathlib import Path
from duomem_mlx.memory.bank import Bank
from tests.memory.stopped import ENCODER, numbered
bank = Bank.open(Path(sys.argv[1]), ENCODER)
for start in range(int(sys.argv[2]), int(sys.argv[3])):
    (id_,) = bank.add(numbered(start, 1))
    if start % 5 == 4:
        bank.forget([id_])
    else:
        print(id_, flush=True)
    bank.search("put thing1 on place1")
"""


def test_two_writers_at_once_one_of_them_killed_again_and_again(folder: Path) -> None:
    path = folder / "bank"
    Bank.create(path, ENCODER).close()
    settings = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}

    def writer(start: int, end: int) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", WRITER, str(path), str(start), str(end)]
        return subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True)

    steady = writer(0, 400)
    reported = list[str]()
    for life in range(6):
        hasty = writer(10_000 * (life + 1), 10_000 * (life + 2))
        assert hasty.stdout is not None
        reported += [hasty.stdout.readline().strip() for _ in range(3 * life + 1)]
        time.sleep(0.003 * life)
        hasty.kill()
        rest = hasty.communicate()[0]
        reported += [line for line in rest.split("\n")[:-1] if line]
    reported += steady.communicate(timeout=120)[0].split()
    assert steady.returncode == 0
    assert len(reported) >= 320 + 6
    with Bank.open(path, ENCODER) as bank:
        assert bank.verify() == []
        assert set(reported) <= {memory.id for memory in bank}
        assert len(bank) <= len(reported) + 6  # at most one a life was kept and not reported, or not yet forgotten
