"""Sealed banks as nobody should write them: each must be read or refused with a sentence.

python -m tests.memory.fuzz 20000
"""

import hashlib
import json
import random
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.importers import read_foreign
from duomem_mlx.memory.record import check, from_record, to_record
from duomem_mlx.memory.sealed import HEAD, MEMORIES, VECTORS
from tests.memory.hashing import HashingEncoder, memory

ENCODER = HashingEncoder(dimensions=8)
ODD = [None, True, -1, 0, 1, 2**63, 10**30, 1.5, float("nan"), float("inf"), "", "x", "\ud800", "../../etc", [], {}]
ODD += [[[]], {"id": 1}, "\x00", "<|im_end|>", "A" * 300_000, [1] * 5000, "9" * 5000]


def pristine(folder: Path) -> dict[str, bytes]:
    with Bank.create(folder / "live", ENCODER) as bank:
        bank.add([memory(f"put some {thing} on shelf", f"take the {thing}.") for thing in ("box", "pen", "mug", "cd")])
        bank.export(folder / "sealed")
    return {name: (folder / "sealed" / name).read_bytes() for name in (HEAD, MEMORIES, VECTORS)}


def mutate(files: dict[str, bytes], rng: random.Random) -> dict[str, bytes]:
    """A few changes in one of the files; mostly hashes and sizes are put right again."""
    changed = dict(files)
    name = rng.choice(list(files))
    for _ in range(rng.randint(1, 3)):
        if name != VECTORS and rng.random() < 0.6:
            changed[name] = other_json(changed[name], name == MEMORIES, rng)
        else:
            changed[name] = other_bytes(changed[name], rng)
    if name != HEAD and rng.random() < 0.9:
        head = json.loads(changed[HEAD])
        for file in (MEMORIES, VECTORS):
            head["files"][file] = {
                "bytes": len(changed[file]),
                "sha256": hashlib.sha256(changed[file]).hexdigest(),
            }
        if rng.random() < 0.3:
            head["count"] = changed[MEMORIES].count(b"\n")
        changed[HEAD] = json.dumps(head).encode()
    return changed


def other_bytes(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 8, 64, 1024))
    way = rng.randrange(5)
    if way == 0:
        return data[:at]
    if way == 1:
        return data[:at] + rng.randbytes(size) + data[at + size :]
    if way == 2:
        return data[:at] + rng.randbytes(size) + data[at:]
    if way == 3:
        return data[:at] + data[at + size :]
    return data[:at] + data[at : at + size] * rng.randint(2, 200) + data[at:]


def other_json(data: bytes, lines: bool, rng: random.Random) -> bytes:
    try:
        rows = [json.loads(line) for line in data.splitlines()] if lines else [json.loads(data)]
    except ValueError:
        return data
    if not rows:
        return data
    if lines and rng.random() < 0.2:
        rng.shuffle(rows)
    else:
        _change(rows[rng.randrange(len(rows))], rng)
    if lines:
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return json.dumps(rows[0]).encode()


def _change(value: Any, rng: random.Random) -> None:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys:
        return
    key = rng.choice(keys)
    if isinstance(value[key], dict | list) and rng.random() < 0.6:
        _change(value[key], rng)
    elif isinstance(value, dict) and rng.random() < 0.3:
        del value[key]
    else:
        value[key] = rng.choice(ODD)


def read_sealed(folder: Path) -> None:
    with Bank.open(folder, ENCODER) as bank:
        hits = bank.search("put some box on shelf", 10)
        assert len(hits) <= len(bank)
        assert all(-1.01 < hit.cosine < 1.01 for hit in hits)


def fuzz_sealed(count: int, seed: int, folder: Path) -> dict[str, int]:
    """How many were read and how many refused. Raises whatever the reader raises beyond DuomemError."""
    return _fuzz(count, seed, folder, pristine(folder), mutate, read_sealed)


FIELDS = {"task": "query", "steps": "run.actions"}
FOREIGN = {"query": "put some box on shelf", "script": "take it", "run": {"actions": ["go", {"action": "take"}]}}


def foreign() -> dict[str, bytes]:
    own = to_record(memory())
    lines = [FOREIGN, {**FOREIGN, "run": {"actions": "go\ntake"}, "game": "g7"}, own]
    return {"memories.jsonl": b"".join(json.dumps(line).encode() + b"\n" for line in lines)}


def mutate_foreign(files: dict[str, bytes], rng: random.Random) -> dict[str, bytes]:
    (data,) = files.values()
    if rng.random() < 0.2:
        data = b"[" + data.strip().replace(b"\n", b",") + b"]"
    for _ in range(rng.randint(1, 3)):
        data = other_json(data, data[:1] != b"[", rng) if rng.random() < 0.6 else other_bytes(data, rng)
    return {"memories.jsonl": data}


def read_imported(folder: Path) -> None:
    for one in read_foreign(folder / "memories.jsonl", FIELDS, "household").memories:
        check(one, "it")
        assert from_record(json.loads(json.dumps(to_record(one))), "it") == one


def fuzz_import(count: int, seed: int, folder: Path) -> dict[str, int]:
    """As `fuzz_sealed`, for files of other people's memories."""
    return _fuzz(count, seed, folder, foreign(), mutate_foreign, read_imported)


def _fuzz(
    count: int,
    seed: int,
    folder: Path,
    files: dict[str, bytes],
    change: Callable[[dict[str, bytes], random.Random], dict[str, bytes]],
    read: Callable[[Path], None],
) -> dict[str, int]:
    rng = random.Random(seed)
    outcomes = {"read": 0, "refused": 0}
    work = folder / "work"
    work.mkdir(exist_ok=True)
    for number in range(count):
        for name, data in change(files, rng).items():
            (work / name).write_bytes(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read(work)
            outcomes["read"] += 1
        except DuomemError as error:
            if len(str(error)) > 600 or "\n" in str(error):
                raise ValueError(f"not one sentence: {error}") from error
            outcomes["refused"] += 1
        except BaseException as error:
            error.add_note(f"seed {seed}, input {number}, kept in {_keep(work)}")
            raise
    return outcomes


def _keep(work: Path) -> Path:
    import shutil

    return Path(shutil.copytree(work, tempfile.mkdtemp(prefix="fuzz-") + "/bank"))


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for fuzz in (fuzz_sealed, fuzz_import):
        with tempfile.TemporaryDirectory() as name:
            print(fuzz.__name__, fuzz(number, 0, Path(name)))
