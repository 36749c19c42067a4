"""An encoder without weights: a text is the sum of directions that its words stand for."""

import hashlib
from collections.abc import Sequence

import numpy as np

from duomem_mlx.memory.index import Floats
from duomem_mlx.memory.record import Memory, Source


class HashingEncoder:
    def __init__(self, dimensions: int = 32, name: str = "hashing") -> None:
        self.id, self.dimensions = name, dimensions
        self.fingerprint = hashlib.sha256(f"{name}:{dimensions}".encode()).hexdigest()
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> Floats:
        self.seen += texts
        rows = np.stack([sum((self._direction(w) for w in text.split()), np.zeros(self.dimensions)) for text in texts])
        rows += self._direction("") * 1e-3  # no text is at the origin
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _direction(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(f"{self.id}:{word}".encode()).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(self.dimensions)


def memory(task: str = "put some box on dresser", script: str = "take a box; put it on the dresser.", **more: object):
    said = [str(more.pop(name, usual)) for name, usual in (("game", "g1"), ("split", "train"), ("teacher", "search"))]
    source = Source("household", *said, "t1")
    settings = {"steps": ("go to sofa 1", "take box 1 from sofa 1"), "created": "2026-01-01T00:00:00+00:00", **more}
    return Memory(task=task, script=script, source=source, **settings)  # type: ignore[arg-type]
