"""The bank against a dict: whatever is done to it, in whatever order, by one process or two."""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from duomem_mlx.memory import live
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.database import DATABASE
from duomem_mlx.memory.record import Memory
from tests.memory.hashing import HashingEncoder, memory

THINGS, PLACES, GAMES = ("box", "pen", "mug"), ("dresser", "shelf"), ("g1", "g2", "g3")
TASKS = [f"put some {thing} on {place}" for thing in THINGS for place in PLACES]
RAM = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # fsync is not what is tested
ENCODER = HashingEncoder(dimensions=8)


@st.composite
def experiences(draw: st.DrawFn) -> Memory:
    return memory(
        draw(st.sampled_from(TASKS)),
        draw(st.sampled_from(["", "look and take it", "take it"])),
        steps=(draw(st.sampled_from(["go to shelf 1", "go to shelf 2"])),),
        game=draw(st.sampled_from(GAMES)),
        strength=draw(st.integers(1, 3)),
    )


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=RAM))
        self.path = self.folder / "bank"
        self.kept: dict[str, Memory] = {}  # by experience
        self.copy: dict[str, Memory] | None = None
        self.many_holes = live._MANY_HOLES
        live._MANY_HOLES = 3

    @initialize()
    def create(self) -> None:
        self.banks = [Bank.create(self.path, ENCODER), Bank.open(self.path, ENCODER)]

    def teardown(self) -> None:
        live._MANY_HOLES = self.many_holes
        for bank in self.banks:
            bank.close()
        shutil.rmtree(self.folder)

    @rule(who=st.integers(0, 1), new=st.lists(experiences(), max_size=5))
    def add(self, who: int, new: list[Memory]) -> None:
        ids = self.banks[who].add(new)
        for one, id_ in zip(new, ids, strict=True):
            old = self.kept.get(one.experience)
            self.kept[one.experience] = one if old is None else replace(old, strength=old.strength + one.strength)
            assert self.kept[one.experience].id == id_

    @rule(who=st.integers(0, 1), data=st.data())
    def forget(self, who: int, data: st.DataObject) -> None:
        known = [m.id for m in self.kept.values()]
        ids = data.draw(st.lists(st.sampled_from([*known, "0" * 16]), max_size=4))
        receipt = self.banks[who].forget(ids)
        assert set(receipt.forgotten) == set(ids) & set(known)
        assert set(receipt.unknown) == set(ids) - set(known)
        self.kept = {key: m for key, m in self.kept.items() if m.id not in ids}
        assert receipt.left == len(self.kept)

    @rule(who=st.integers(0, 1), data=st.data(), won=st.booleans())
    def credit(self, who: int, data: st.DataObject, won: bool) -> None:
        used = data.draw(st.sets(st.sampled_from(sorted(self.kept)), max_size=3)) if self.kept else set()
        self.banks[who].credit([self.kept[key].id for key in used], won)
        for key in used:
            old = self.kept[key]
            self.kept[key] = replace(old, uses=old.uses + 1, wins=old.wins + won)

    @rule(
        who=st.integers(0, 1),
        text=st.sampled_from([*TASKS, "something else", " "]),
        k=st.integers(0, 12),
        excluded=st.sampled_from([None, *GAMES]),
        per_task=st.sampled_from([None, 1, 2]),
    )
    def search(self, who: int, text: str, k: int, excluded: str | None, per_task: int | None) -> None:
        hits = self.banks[who].search(text, k, exclude_game=excluded, per_task=per_task)
        query = ENCODER.encode([text])[0].astype(np.float64)
        ranked = sorted(
            (-float(ENCODER.encode([m.task])[0].astype(np.float64) @ query), m.id, m)
            for m in self.kept.values()
            if m.source.game != excluded
        )
        expected = list[tuple[Memory, float]]()
        for cosine, _, one in ranked:
            if per_task is None or sum(m.task == one.task for m, _ in expected) < per_task:
                expected.append((one, -cosine))
        expected = expected[:k] if text.strip() else []
        assert [hit.memory for hit in hits] == [one for one, _ in expected]
        np.testing.assert_allclose([hit.cosine for hit in hits], [cosine for _, cosine in expected], atol=1e-14)

    @rule(who=st.integers(0, 1))
    def open_again(self, who: int) -> None:
        self.banks[who].close()
        self.banks[who] = Bank.open(self.path, ENCODER)

    @rule(harm=st.sampled_from(["gone", "short", "header", "other generation", "empty"]), keep=st.integers(0, 5000))
    def harm_the_derived_file(self, harm: str, keep: int) -> None:
        matrix = self.path / live.MATRIX
        if not matrix.exists():
            return
        part = matrix.with_suffix(".part")
        data = matrix.read_bytes()
        if harm == "short":
            part.write_bytes(data[: min(keep, len(data) - 1)])
        elif harm == "header":
            part.write_bytes(b"x" * 64 + data[64:])
        elif harm == "other generation":
            part.write_bytes(data[:16] + b"y" * 16 + data[32:])
        elif harm == "empty":
            part.write_bytes(b"")
        if harm == "gone":
            matrix.unlink()
        else:
            os.replace(part, matrix)
        self.open_again(0)

    @rule()
    def keep_a_copy(self) -> None:
        for bank in self.banks:
            bank.close()
        shutil.copy(self.path / DATABASE, self.folder / "copy")
        self.copy = dict(self.kept)
        self.banks = [Bank.open(self.path, ENCODER), Bank.open(self.path, ENCODER)]

    @precondition(lambda self: self.copy is not None)
    @rule()
    def put_the_copy_back(self) -> None:
        """The matrix that lies there then belongs to another history of the same bank."""
        for bank in self.banks:
            bank.close()
        shutil.copy(self.folder / "copy", self.path / DATABASE)
        assert self.copy is not None
        self.kept = dict(self.copy)
        self.banks = [Bank.open(self.path, ENCODER), Bank.open(self.path, ENCODER)]

    @rule(who=st.integers(0, 1))
    def seal_and_import(self, who: int) -> None:
        assert self.banks[who].export(self.folder / "sealed", overwrite=True) == len(self.kept)
        with Bank.open(self.folder / "sealed", ENCODER) as sealed:
            assert {m.experience: m for m in sealed} == self.kept
            assert sealed.identity == self.banks[who].identity
            for text in TASKS[:2]:
                assert sealed.search(text, 5) == self.banks[who].search(text, 5)
            assert sealed.random(2, 7, exclude_game="g1") == self.banks[who].random(2, 7, exclude_game="g1")
            with Bank.create(self.folder / "imported", ENCODER) as imported:
                imported.add_bank(sealed)
                assert {m.experience: m for m in imported} == self.kept
        shutil.rmtree(self.folder / "imported")

    @invariant()
    def both_see_the_same(self) -> None:
        for bank in self.banks:
            assert len(bank) == len(self.kept)
            assert [m.id for m in bank] == sorted(m.id for m in self.kept.values())

    @rule()
    def verify(self) -> None:
        assert self.banks[0].verify() == []


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
