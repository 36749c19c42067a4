import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duomem_mlx import paths
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.memory import live
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.folders import find_bank
from tests.memory.hashing import HashingEncoder, memory

ENCODER = HashingEncoder()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank.create(tmp_path / "bank", ENCODER)


def test_an_empty_bank_finds_nothing(bank: Bank, tmp_path: Path) -> None:
    assert len(bank) == 0
    assert bank.search("put some box on dresser") == []
    assert bank.random(3, 0) == []
    assert bank.verify() == []
    assert bank.add([]) == []
    assert bank.export(tmp_path / "sealed") == 0
    with Bank.open(tmp_path / "sealed", ENCODER) as sealed:
        assert (len(sealed), sealed.search("x"), sealed.verify()) == (0, [], [])


def test_odd_questions(bank: Bank) -> None:
    bank.add([memory(f"task {n}") for n in range(3)])
    assert bank.search("task 1", 0) == []
    assert bank.search("task 1", -1) == []
    assert bank.search("  \n", 3) == []
    assert len(bank.search("task 1", 99)) == 3
    assert bank.search("task 1", 2, floor=1.5) == []
    assert [hit.memory.task for hit in bank.search(" task 1 ", 9, floor=0.999)] == ["task 1"]


def test_the_key_and_the_question_are_the_bare_task(bank: Bank) -> None:
    ENCODER.seen.clear()
    bank.add([memory("put some box on dresser", "a script")])
    bank.search("put some pen on dresser")
    assert ENCODER.seen == ["put some box on dresser", "put some pen on dresser"]


def test_equal_texts_have_equal_vectors_whatever_stands_beside_them(tmp_path: Path) -> None:
    class Noisy(HashingEncoder):
        """Its last bits depend on what else it is given, as those of a real encoder do."""

        def encode(self, texts):  # type: ignore[no-untyped-def]
            return super().encode(texts) * np.float32(1 + 1e-6 * len(self.seen))

    with Bank.create(tmp_path / "bank", Noisy()) as bank:
        for n in range(6):
            bank.add([memory("put some box on dresser", f"script {n}"), memory(f"task {n}")])
        bank.export(tmp_path / "sealed")
        for found in (bank, Bank.open(tmp_path / "sealed", Noisy())):
            hits = found.search("put some box on dresser", 6, per_task=None)
            assert len({hit.cosine for hit in hits}) == 1
            assert [hit.memory.id for hit in hits] == sorted(hit.memory.id for hit in hits)


def test_ten_hits_are_not_one_task_ten_times(bank: Bank) -> None:
    bank.add([memory("put some box on dresser", f"script {n}") for n in range(30)])
    bank.add([memory("Put  some box on dresser", "script"), memory("put some pen on bed", "script")])
    assert [hit.memory.task for hit in bank.search("put some box on dresser", 10)][1:] == ["put some pen on bed"]
    twice = bank.search("put some box on dresser", 10, per_task=2)
    assert len(twice) == 3
    everything = bank.search("put some box on dresser", 40, per_task=None)
    assert len(everything) == 32
    same = [hit for hit in everything if hit.memory.task == "put some box on dresser"]
    assert [hit.memory.id for hit in same] == sorted(hit.memory.id for hit in same), "ties stand by id"


def test_no_memory_from_the_game_that_is_played(bank: Bank) -> None:
    bank.add([memory("put some box on dresser", f"script {n}", game=f"g{n % 3}") for n in range(9)])
    hits = bank.search("put some box on dresser", 9, exclude_game="g1", per_task=None)
    assert len(hits) == 6
    assert {hit.memory.source.game for hit in hits} == {"g0", "g2"}
    assert {hit.memory.source.game for hit in bank.random(9, 0, exclude_game="g1", per_task=None)} == {"g0", "g2"}


def test_many_questions_at_once_have_the_same_answers(bank: Bank) -> None:
    bank.add([memory(f"put some thing{n % 40} on place{n % 7}", f"script {n}", game=f"g{n % 5}") for n in range(300)])
    texts = [f"put some thing{n} on place{n % 3}" for n in range(20)] + [" "]
    games = [f"g{n % 5}" if n % 2 else None for n in range(21)]
    together = bank.search_many(texts, 6, games)
    assert together == [bank.search(text, 6, exclude_game=game) for text, game in zip(texts, games, strict=True)]


def test_diversity_prefers_what_was_not_said_yet(bank: Bank) -> None:
    bank.add([memory(task) for task in ("a b c d", "a b c d e", "a b c d f", "a x y z")])
    assert {hit.memory.task for hit in bank.search("a b c d", 3)} == {"a b c d", "a b c d e", "a b c d f"}
    spread = [hit.memory.task for hit in bank.search("a b c d", 2, diversity=0.9)]
    assert spread == ["a b c d", "a x y z"]


def test_random_is_the_same_for_the_same_seed_and_another_for_another_game(bank: Bank) -> None:
    bank.add([memory(f"task {n}", game=f"g{n}") for n in range(50)])
    assert bank.random(4, 1) == bank.random(4, 1)
    assert bank.random(4, 1) != bank.random(4, 2)
    assert bank.random(4, 1, exclude_game="g1") != bank.random(4, 1, exclude_game="g2")
    assert len({hit.memory.id for seed in range(60) for hit in bank.random(4, seed)}) == 50


def test_credit_and_strength_add_up(bank: Bank) -> None:
    (id_,) = bank.add([memory()])
    bank.credit([id_], True)
    bank.credit([id_, "unknown"], False)
    bank.add([memory(steps=("another way",), uses=3, wins=3, strength=2)])
    found = bank.get(id_)
    assert (found.uses, found.wins, found.strength) == (5, 4, 3)
    assert found.steps == memory().steps


def test_forgetting_leaves_nothing_behind(bank: Bank, tmp_path: Path) -> None:
    secret = "the safe opens with 1234"
    bank.add([memory(f"task {n}") for n in range(5)])
    (id_,) = bank.add([memory("a secret", secret)])
    vector = ENCODER.encode(["a secret"])[0].tobytes()
    bank.search("task 1")
    files = list((tmp_path / "bank").iterdir())
    assert any(secret.encode() in file.read_bytes() for file in files)
    assert vector in (tmp_path / "bank" / "vectors.f32").read_bytes()
    receipt = bank.forget([id_, "0" * 16])
    assert (receipt.forgotten, receipt.unknown, receipt.left) == ((id_,), ("0" * 16,), 5)
    assert all(hit.memory.id != id_ for hit in bank.search("a secret", 9))
    for file in (tmp_path / "bank").iterdir():
        assert secret.encode() not in file.read_bytes(), file
        assert vector not in file.read_bytes(), file


def test_ids_may_be_cut_short(bank: Bank) -> None:
    ids = bank.add([memory(f"task {n}") for n in range(40)])
    assert bank.get(ids[0]).id == ids[0]
    assert bank.get(ids[0][:12]).id == ids[0]
    for prefix, says in (("", "no memory"), ("zz", "no memory"), (ids[0] + "0", "no memory")):
        with pytest.raises(UsageError, match=says):
            bank.get(prefix)
    shared = next(c for c in "0123456789abcdef" if sum(id_.startswith(c) for id_ in ids) > 1)
    with pytest.raises(UsageError, match=r"memories have an id that starts with"):
        bank.get(shared)


def test_another_encoder_is_refused(bank: Bank, tmp_path: Path) -> None:
    bank.add([memory()])
    bank.export(tmp_path / "sealed")
    for folder in (tmp_path / "bank", tmp_path / "sealed"):
        for other in (HashingEncoder(name="other"), HashingEncoder(16)):
            with pytest.raises(DuomemError, match=r"was made with the encoder hashing .* not with") as caught:
                Bank.open(folder, other)
            assert "\n" not in str(caught.value)


def test_with_another_encoder_it_is_made_anew_from_its_text(bank: Bank, tmp_path: Path) -> None:
    bank.add([memory(f"task {n}", uses=2) for n in range(5)])
    other = HashingEncoder(8, "other")
    with Bank.create(tmp_path / "new", other) as new:
        new.add_bank(bank)
        assert list(new) == list(bank)
        assert new.search("task 3", 1)[0].cosine == pytest.approx(1, abs=1e-6)
        assert new.verify() == []


def test_an_encoder_that_gives_rubbish_changes_nothing(tmp_path: Path) -> None:
    class Rubbish(HashingEncoder):
        def encode(self, texts):  # type: ignore[no-untyped-def]
            return np.full((len(texts), 32), np.nan, np.float32)

    bank = Bank.create(tmp_path / "bank", Rubbish())
    with pytest.raises(DuomemError, match="gave no usable vectors: some numbers are not finite"):
        bank.add([memory()])
    assert len(bank) == 0


def test_one_bad_memory_keeps_all_of_a_batch_out(bank: Bank) -> None:
    with pytest.raises(DuomemError, match="no task"):
        bank.add([memory(), memory(task=" ")])
    assert len(bank) == 0


def test_what_text_can_hold_comes_back(bank: Bank) -> None:
    odd = memory("naïve 箱 \x00 \u2028 <|im_end|>", "line\nline\r\n\t\x1b[31m", steps=("", '{"a": "b"}', "\n"))
    (id_,) = bank.add([odd])
    assert bank.get(id_) == odd
    assert bank.search(odd.task, 1)[0].memory == odd


def test_opening_and_listing_load_neither_mlx_nor_an_encoder(bank: Bank) -> None:
    bank.add([memory()])
    code = (
        "import sys; from duomem_mlx.memory.bank import Bank; b = Bank.open(sys.argv[1]);"
        "assert len(list(b)) == 1 and b.verify() == [] and b.random(1, 0); assert not b.search(' ');"
        "assert not any(m.split('.')[0] in ('mlx', 'torch', 'tokenizers', 'transformers') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(bank.path)], check=True, cwd=ROOT)


def test_nothing_there_or_something_else_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no bank"):
        Bank.open(tmp_path / "nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").touch()
    with pytest.raises(UsageError, match="is there already"):
        Bank.create(tmp_path / "full", ENCODER)
    with pytest.raises(UsageError, match="There is no bank"):
        Bank.open(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    Bank.create(tmp_path / "empty", ENCODER).close()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is not a bank"), (b"SQLite?" * 999, "is damaged: file is not a database")],
)
def test_a_database_that_is_none(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "bank.sqlite3").write_bytes(content)
    with pytest.raises(DuomemError, match=says):
        Bank.open(tmp_path)


def test_damage_inside_the_database_is_told(bank: Bank) -> None:
    bank.add([memory(f"task {n}", "x" * 3000) for n in range(50)])
    bank.close()
    file = bank.path / "bank.sqlite3"
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 6000] = b"\xff" * 6000
    file.write_bytes(data)
    assert looked_at(bank.path)


def looked_at(folder: Path) -> list[str]:
    try:
        with Bank.open(folder, ENCODER) as bank:
            return bank.verify()
    except DuomemError as error:
        return [str(error)] if "is damaged" in str(error) else []


def test_verify_finds_what_was_changed_by_hand(bank: Bank) -> None:
    ids = bank.add([memory(f"task {n}") for n in range(4)])
    with sqlite3.connect(bank.path / "bank.sqlite3") as db:
        db.execute("UPDATE memories SET script = 'other' WHERE id = ?", (ids[0],))
        db.execute("UPDATE memories SET vector = zeroblob(128) WHERE id = ?", (ids[1],))
    db.close()
    bank.search("task 1")
    with sqlite3.connect(bank.path / "bank.sqlite3") as db:
        db.execute("UPDATE memories SET vector = zeroblob(12) WHERE id = ?", (ids[2],))
    db.close()
    (bank.path / "vectors.f32").unlink()
    with pytest.raises(DuomemError, match="a vector has 12 bytes"):
        Bank.open(bank.path, ENCODER).search("task 1")
    problems = "\n".join(bank.verify())
    assert f"{ids[0]} is not what its id says" in problems
    assert f"The vector of {ids[1]} is not of unit length" in problems
    assert f"The vector of {ids[2]} has 12 bytes" in problems
    assert ids[3] not in problems


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE memories SET steps = '[1'",
        "UPDATE memories SET steps = '5'",
        "UPDATE memories SET steps = '{}'",
        "UPDATE memories SET task = x'00ff'",
        "UPDATE memories SET script = CAST(x'ff41' AS TEXT)",
        "UPDATE memories SET strength = 'many'",
        f"UPDATE memories SET position = {2**40}",
        f"UPDATE memories SET position = {2**62}",
        "UPDATE meta SET value = '10000000000' WHERE name = 'dimensions'",
        "UPDATE meta SET value = '-3' WHERE name = 'dimensions'",
        "DELETE FROM meta WHERE name = 'generation'",
        "DROP TABLE holes",
    ],
)
def test_what_is_damaged_is_told_by_whatever_reads_it(bank: Bank, change: str) -> None:
    bank.add([memory("task")])
    bank.close()
    with sqlite3.connect(bank.path / "bank.sqlite3") as db:
        db.execute(change)
    db.close()
    (bank.path / "vectors.f32").unlink(missing_ok=True)
    for read in (lambda b: b.search("task"), lambda b: b.search("other"), list, lambda b: b.export(bank.path / "out")):
        with pytest.raises(DuomemError) as told, Bank.open(bank.path, ENCODER) as opened:
            read(opened)
        assert "damaged" in str(told.value) or "does not say what it holds" in str(told.value)
        assert "Restore it from a copy" in str(told.value)
    try:
        with Bank.open(bank.path, ENCODER) as opened:
            assert opened.verify()
    except DuomemError:
        pass  # told before


def test_a_newer_format_is_refused(bank: Bank) -> None:
    bank.close()
    with sqlite3.connect(bank.path / "bank.sqlite3") as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(DuomemError, match="Install a newer duomem-mlx"):
        Bank.open(bank.path)


def test_names_of_banks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "package")
    Bank.create(tmp_path / "here", ENCODER).close()
    Bank.create(tmp_path / "home" / "memories" / "mine", ENCODER).close()
    Bank.create(tmp_path / "package" / "shipped" / "memories" / "given", ENCODER).close()
    assert find_bank("here").resolve() == tmp_path / "here"
    assert find_bank("mine") == tmp_path / "home" / "memories" / "mine"
    assert find_bank("given") == tmp_path / "package" / "shipped" / "memories" / "given"
    for name in ("nothing", "../mine", "", "org/bank"):
        with pytest.raises(UsageError):
            find_bank(name)


@pytest.mark.parametrize("forgetting", [False, True])
def test_a_copy_put_back_does_not_get_the_vectors_of_what_came_after_it(
    bank: Bank, tmp_path: Path, forgetting: bool
) -> None:
    """As many rows and holes as the matrix says, but of another history of the same bank."""
    ids = bank.add([memory(f"task {n}") for n in range(3)])
    bank.close()
    shutil.copy(bank.path / "bank.sqlite3", tmp_path / "copy")
    for task, gone in (("one story", ids[0]), ("another story", ids[1])):
        with Bank.open(bank.path, ENCODER) as told:
            if forgetting:
                told.forget([gone])
            else:
                told.add([memory(task)])
            hits = told.search(task, 4)
            assert [hit.memory for hit in hits] == [told.get(hit.memory.id) for hit in hits]
            if not forgetting:
                assert hits[0].cosine == pytest.approx(1)
            assert len(hits) == len(told)
            assert told.verify() == []
        shutil.copy(tmp_path / "copy", bank.path / "bank.sqlite3")


def test_rows_numbered_anew_by_another_process_in_mid_search(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_MANY_HOLES", 1)
    ids = bank.add([memory(f"task {n}") for n in range(9)])
    bank.search("task 8")
    other = Bank.open(bank.path, ENCODER)
    follow, calls = live.Live._follow, list[None]()

    def follow_and_be_overtaken(self: live.Live) -> None:
        follow(self)
        calls.append(None)
        if len(calls) == 1:
            other.forget(ids[:6])

    monkeypatch.setattr(live.Live, "_follow", follow_and_be_overtaken)
    hits = bank.search("task 8", 9)
    assert len(calls) > 2
    assert hits[0].memory.task == "task 8"
    assert hits[0].cosine == pytest.approx(1)
    assert len(hits) == 3


def test_adding_and_forgetting_does_not_grow(bank: Bank) -> None:
    one = memory(script="x" * 2000)
    for n in range(60):
        bank.forget(bank.add([replace(one, task=f"task {n} {m}") for m in range(100)]))
        bank.search("task")
    bank.close()
    assert sum(file.stat().st_size for file in bank.path.iterdir()) < 1_500_000
