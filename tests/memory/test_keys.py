import pytest

from duomem_mlx.errors import UsageError
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.keys import key_of
from duomem_mlx.memory.scripts import memory_of
from tests.memory.hashing import HashingEncoder
from tests.memory.test_scripts import trajectory

OPENING = "Looking around you, you see a bed 1, and a drawer 12.\n\nYour task is to: put some box on bed."


def test_the_task_is_the_bare_sentence() -> None:
    assert key_of("task", "put some box on bed", OPENING) == "put some box on bed"


def test_the_room_is_the_task_and_what_is_seen_without_numbers() -> None:
    key = key_of("room", "put some box on bed", OPENING)
    assert key == "put some box on bed\nLooking around you, you see a bed, and a drawer. Your task is to: ."
    assert len(key_of("room", "t", "word " * 10_000)) < 1000


def test_facts_are_what_is_found() -> None:
    assert key_of("facts", "t", "o", lambda task, opening: f" {task}{opening} ") == "to"
    assert key_of("facts", "t", "o", lambda task, opening: " ") == "t"
    with pytest.raises(UsageError, match="need a model"):
        key_of("facts", "t", "o")
    with pytest.raises(UsageError, match="no keys of the kind 'colour'"):
        key_of("colour", "t", "o")


def test_a_bank_is_asked_in_the_words_of_its_keys(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with Bank.create(tmp_path / "bank", HashingEncoder(), by="room") as bank:
        made = memory_of(trajectory(), by="room")
        bank.add([made])
        hit = bank.search(bank.question(made.task, trajectory().opening), 1)[0]
        assert hit.cosine == pytest.approx(1, abs=1e-6)
        bank.export(tmp_path / "sealed")
        with Bank.open(tmp_path / "sealed", HashingEncoder()) as sealed:
            assert sealed.by == "room"
            assert sealed.get(made.id).key == made.key
        with Bank.create(tmp_path / "other", HashingEncoder()) as other, pytest.raises(UsageError, match="found by"):
            other.add_bank(bank)
