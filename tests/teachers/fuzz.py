"""Trajectories of others as nobody should write them: each is kept, left out with a reason, or refused with a sentence.

python -m tests.teachers.fuzz 20000
"""

import json
import random
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from duomem_mlx.environment import find_environment
from duomem_mlx.errors import DuomemError
from duomem_mlx.own_teacher import teacher_of
from duomem_mlx.teachers import imports, transcripts
from duomem_mlx.teachers.imports import GamesAtHand, import_transcripts
from duomem_mlx.teachers.record import attempt
from duomem_mlx.trajectory import from_record, to_record
from tests.memory.fuzz import other_bytes, other_json
from tests.teachers.foreign import as_messages, as_react, as_sharegpt, as_tagged, as_tagged_messages, lines

WORLD = find_environment("household")
GAMES = ("generated:1", "generated:2")
REASONS = {value for module in (imports, transcripts) for name, value in vars(module).items() if name in {
    "NO_GAME", "NOT_WON", "BROKEN", "TWICE", "NO_TASK", "NO_JSON", "NO_FORMAT", "NO_TEXT", "TOO_LARGE", "NO_ACTION",
}}  # fmt: skip


def originals() -> dict[str, bytes]:
    """A file in every format, of two games."""
    played = [attempt(WORLD, game, teacher_of(WORLD), {"kind": "search"}, 30) for game in GAMES]
    records = {
        transcripts.MESSAGES: [as_messages(t, game=t.game) for t in played],
        transcripts.SHAREGPT: [as_sharegpt(t, meta={"error": t.game}) for t in played],
        "tagged messages": [as_tagged_messages(t) for t in played],
        "text records": [{"text": as_react(played[0]), "id": played[0].game}, {"transcript": as_tagged(played[1])}],
    }
    files = {name: lines(found).encode() for name, found in records.items()}
    files[transcripts.REACT] = "".join(map(as_react, played)).encode()
    files[transcripts.TAGGED] = "".join(map(as_tagged, played)).encode()
    return files


def mutated(data: bytes, rng: random.Random) -> bytes:
    is_json = data[:1] == b"{"
    if is_json and rng.random() < 0.2:
        return other_bytes(b"[" + data.strip().replace(b"\n", b",") + b"]", rng)
    for _ in range(rng.randint(1, 4)):
        data = other_json(data, True, rng) if is_json and rng.random() < 0.6 else other_bytes(data, rng)
    return data


def survives(file: Path, games: GamesAtHand, unchecked: bool) -> bool:
    """Whether anything was kept; what is kept can be read back, and a game at hand was won. Raises what is no clear
    error."""
    found = import_transcripts([file], games, unchecked=unchecked)
    assert set(found.left_out) <= REASONS, found.left_out
    for one in found.trajectories:
        assert from_record(json.loads(json.dumps(to_record(one), ensure_ascii=False).encode()), "it") == one
        assert one.won
        assert one.steps
        assert one.teacher["replayed"] or unchecked
    return bool(found.trajectories)


def fuzz_import(
    count: int, seed: int, folder: Path, tell: Callable[[str], object] = lambda line: None
) -> dict[str, int]:
    """How many of `count` files, in every format as many, were kept at least in part, left out, or refused."""
    rng = random.Random(seed)
    files = originals()
    outcomes = {"kept": 0, "left out": 0, "refused": 0}
    file = folder / "theirs"
    games = GamesAtHand(WORLD, GAMES)
    for number in range(count):
        name = list(files)[number % len(files)]
        file.write_bytes(mutated(files[name], rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                outcomes["kept" if survives(file, games, rng.random() < 0.5) else "left out"] += 1
        except DuomemError as error:
            if len(str(error)) > 600 or "\n" in str(error):
                raise ValueError(f"not one sentence: {error}") from error
            outcomes["refused"] += 1
        except BaseException as error:
            kept = Path(tempfile.mkdtemp(prefix="fuzz-")) / "theirs"
            kept.write_bytes(file.read_bytes())
            error.add_note(f"{name}, seed {seed}, input {number}, kept in {kept}")
            raise
        if number % 5000 == 4999:
            tell(f"{number + 1}: {outcomes}")
    return outcomes


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print("fuzz_import", fuzz_import(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, 0, Path(name), print))
