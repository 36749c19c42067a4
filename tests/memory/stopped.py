"""Changes a bank and is stopped at the n-th call that changes a file, for every STEP-th n there is. Run by
test_crash.py with `stop_at.c` preloaded: python -m tests.memory.stopped SCENARIO HOW FOLDER STEP. Prints how often it
was stopped. With the HOW "beside" another process writes to the same bank all the while.

Each moment is a fork of this process, so that a hundred take seconds.
"""

import ctypes
import mmap
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory import live
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.record import Memory
from tests.memory.hashing import HashingEncoder, memory

HOWS = {"before": 0, "half-way": 1, "full": 2, "beside": 0}
ENCODER = HashingEncoder(dimensions=64)
shim = ctypes.CDLL(None)
acknowledged = mmap.mmap(-1, 8)  # shared with the forks: how many changes were reported as done
neighbours = mmap.mmap(-1, 8)  # how many the other process made; a byte that tells it to end
NEIGHBOURS = 1000  # number of its first memory

State = frozenset[tuple[str, int, int]]  # id, strength, uses


def numbered(start: int, count: int) -> list[Memory]:
    return [
        memory(f"put thing{i} on place{i % 7}", f"take thing{i}; put it down.") for i in range(start, start + count)
    ]


def state(folder: Path) -> State:
    """What a reader finds, after proving that the bank is sound and every memory is found by its task."""
    if not folder.exists():
        return frozenset()
    with Bank.open(folder, ENCODER) as bank:
        found = list(bank)
        assert bank.verify() == [], bank.verify()
        assert len(bank) == len(found)
        for one in found[::5]:
            assert bank.search(one.task, 1)[0].memory == one
        assert len(bank.search("put thing0 on place0", 10_000)) == len(found)
    return frozenset((one.id, one.strength, one.uses) for one in found)


@dataclass(frozen=True)
class Scenario:
    """`changes` are made one after the other; each is whole or not there."""

    prepare: Callable[[Path], None]
    changes: Callable[[Path], Iterator[Callable[[], object]]]
    result: str = "bank"  # the folder that is looked at


def small_bank(folder: Path) -> None:
    with Bank.create(folder / "bank", ENCODER) as bank:
        bank.add(numbered(0, 30))
        bank.search("put thing1 on place1")


def adds(folder: Path) -> Iterator[Callable[[], object]]:
    bank = Bank.open(folder / "bank", ENCODER)
    yield lambda: bank.add(numbered(30, 1))
    yield lambda: bank.add(numbered(28, 5))  # three of them there already
    bank.search("put thing1 on place1")
    yield lambda: bank.add(numbered(100, 200))  # more than a page of the log
    bank.search("put thing1 on place1")
    yield lambda: bank.add(numbered(31, 1))
    bank.close()


def forgets(folder: Path) -> Iterator[Callable[[], object]]:
    live._MANY_HOLES = 8
    bank = Bank.open(folder / "bank", ENCODER)
    ids = [one.id for one in numbered(0, 30)]
    yield lambda: bank.forget(ids[:1])
    yield lambda: bank.forget(ids[3:9])
    yield lambda: bank.forget(ids[10:25])  # now the rows are numbered anew
    bank.search("put thing1 on place1")
    yield lambda: bank.credit(ids[1:3], True)
    yield lambda: bank.change(used=[ids[1], ids[2], ids[9]], add=numbered(70, 1), prune=(1, 0.5))
    yield lambda: bank.add(numbered(4, 2))
    bank.search("put thing1 on place1")


def sealed_beside(folder: Path) -> None:
    small_bank(folder)
    with Bank.open(folder / "bank", ENCODER) as bank:
        bank.export(folder / "sealed")
        bank.add(numbered(50, 10))


def exports(folder: Path) -> Iterator[Callable[[], object]]:
    yield lambda: Bank.open(folder / "bank", ENCODER).export(folder / "new")


def imports(folder: Path) -> Iterator[Callable[[], object]]:
    def fresh() -> None:
        with Bank.open(folder / "sealed", ENCODER) as sealed, Bank.building(folder / "new", ENCODER) as bank:
            bank.add_bank(sealed)

    def into() -> None:
        with Bank.open(folder / "bank", ENCODER) as full, Bank.open(folder / "new", ENCODER) as bank:
            bank.add_bank(full)

    yield fresh
    yield into


def older_bank(folder: Path) -> None:
    """Of format 1, which had no table of what was learnt from."""
    small_bank(folder)
    with sqlite3.connect(folder / "bank" / "bank.sqlite3") as db:
        db.executescript("DROP TABLE learnt; PRAGMA user_version = 1;")
    db.close()


def learns(folder: Path) -> Iterator[Callable[[], object]]:
    bank = Bank.open(folder / "bank", ENCODER)
    ids = [one.id for one in numbered(0, 30)]
    yield lambda: bank.change(used=ids[:4], won=True, add=numbered(40, 2), episode="e1")  # becomes format 2
    yield lambda: bank.change(used=ids[2:6], add=numbered(3, 1), prune=(2, 0.9), episode="e2")
    bank.change(used=ids[2:6], add=numbered(3, 1), episode="e2")  # nothing happens
    yield lambda: bank.change(used=ids[8:10], won=True, episode="e3")


SCENARIOS = {
    "learns": Scenario(older_bank, learns),
    "adds": Scenario(small_bank, adds),
    "forgets": Scenario(small_bank, forgets),
    "exports": Scenario(sealed_beside, exports, "new"),
    "imports": Scenario(sealed_beside, imports, "new"),
}


def play(scenario: Scenario, folder: Path, states: list[State] | None) -> None:
    """Make the changes; with `states`, note what is there after each."""
    if states is not None:
        states.append(state(folder / scenario.result))
    for change in scenario.changes(folder):
        change()
        acknowledged[0] += 1
        if states is not None:
            states.append(state(folder / scenario.result))


def stopped_at(moment: int, how: int, scenario: Scenario, folder: Path) -> bool:
    """Whether the scenario was stopped at that moment; False when it has fewer."""
    acknowledged[0] = 0
    child = os.fork()
    if not child:
        status = 9
        try:
            shim.arm(ctypes.c_long(moment), how)
            play(scenario, folder, None)
            status = 0 if shim.disarm() < moment else 1
        except DuomemError as error:
            shim.disarm()
            status = 2 if how == HOWS["full"] and any(word in str(error) for word in ("full", "space")) else 8
            if status == 8:
                print(f"moment {moment}: {error}", file=sys.stderr)
        except BaseException:
            shim.disarm()
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in ((0, 1, 2) if how == HOWS["full"] else (0, -9)), f"moment {moment} ended with {code}"
    return code != 0


@contextmanager
def neighbour(bank: Path) -> Iterator[None]:
    """Another process that adds and forgets memories of its own until the block ends."""
    neighbours[:2] = b"\0\0"
    child = os.fork()
    if not child:
        status = 1
        try:
            with Bank.open(bank, ENCODER) as opened:
                while not neighbours[1] and neighbours[0] < 250:
                    _, passing = opened.add(numbered(NEIGHBOURS + 2 * neighbours[0], 2))
                    opened.forget([passing])
                    opened.search("put thing1 on place1")
                    neighbours[0] += 1
            status = 0
        finally:
            os._exit(status)
    while not neighbours[0]:
        os.sched_yield()
    try:
        yield
    finally:
        neighbours[1] = 1
        _, status = os.waitpid(child, 0)
    assert status == 0, "the other process failed"


def without_neighbours(found: State) -> State:
    """What is there besides the other process's memories, after proving that all it kept is there and nothing that it
    forgot."""
    theirs = numbered(NEIGHBOURS, 2 * neighbours[0])
    kept = {one.id for one in theirs[::2]}
    ids = {id_ for id_, _, _ in found}
    assert kept <= ids, "something of the other process is lost"
    assert not ids & {one.id for one in theirs[1::2]}, "something that the other process forgot is there"
    return frozenset(one for one in found if one[0] not in kept)


def main(name: str, how: str, base: Path, step: int) -> None:
    scenario, pristine, folder = SCENARIOS[name], base / "pristine", base / "work"
    pristine.mkdir()
    scenario.prepare(pristine)
    shutil.copytree(pristine, folder)
    states = list[State]()
    play(scenario, folder, states)
    assert len(set(states)) == len(states), "every change can be told from the one before"
    moment = 1
    while True:
        shutil.rmtree(folder)
        shutil.copytree(pristine, folder)
        with neighbour(folder / "bank") if how == "beside" else nullcontext():
            stopped = stopped_at(moment, HOWS[how], scenario, folder)
        if not stopped:
            break
        done = acknowledged[0]
        found = state(folder / scenario.result)
        if how == "beside":
            found = without_neighbours(found)
        assert found in states[done : done + 2], f"{name}, moment {moment}: {done} changes were reported as done"
        moment += step
    print((moment - 1) // step)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
