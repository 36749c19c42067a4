"""Sealed banks as nobody should write them: each must be read or refused with a sentence.

python -m tests.memory.fuzz_sealed 20000
"""

import hashlib
import json
import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory.bank import Bank
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
            changed[name] = _other_json(changed[name], name == MEMORIES, rng)
        else:
            changed[name] = _other_bytes(changed[name], rng)
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


def _other_bytes(data: bytes, rng: random.Random) -> bytes:
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


def _other_json(data: bytes, lines: bool, rng: random.Random) -> bytes:
    try:
        rows = [json.loads(line) for line in data.splitlines()] if lines else [json.loads(data)]
    except ValueError:
        return data
    if lines and rng.random() < 0.2:
        rng.shuffle(rows)
    elif rows:
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


def fuzz(count: int, seed: int, folder: Path) -> dict[str, int]:
    """How many were read and how many refused. Raises whatever the reader raises beyond DuomemError."""
    files, rng = pristine(folder), random.Random(seed)
    outcomes = {"read": 0, "refused": 0}
    work = folder / "work"
    work.mkdir()
    for number in range(count):
        for name, data in mutate(files, rng).items():
            (work / name).write_bytes(data)
        try:
            with warnings.catch_warnings(), Bank.open(work, ENCODER) as bank:
                warnings.simplefilter("error")
                hits = bank.search("put some box on shelf", 10)
                assert len(hits) <= len(bank)
                assert all(-1.01 < hit.cosine < 1.01 for hit in hits)
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
    with tempfile.TemporaryDirectory() as name:
        print(fuzz(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, 0, Path(name)))
