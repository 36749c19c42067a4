from pathlib import Path

import pytest

from duomem_mlx.errors import UsageError
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.growth import ADJUSTMENT, VALIDATION, VANILLA, Growth, learn
from duomem_mlx.memory.record import Memory
from duomem_mlx.trajectory import Trajectory
from tests.memory.hashing import HashingEncoder, memory
from tests.memory.test_scripts import trajectory

ENCODER = HashingEncoder()
WON, LOST = trajectory("g1", task="put some pen on bed"), trajectory("g2", task="put some mug on bed", won=False)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    bank = Bank.create(tmp_path / "bank", ENCODER)
    bank.add([memory(f"task {n}") for n in range(3)])
    return bank


def ids(bank: Bank) -> list[str]:
    return [one.id for one in bank]


def test_validation_keeps_what_was_won_and_credits_all_that_was_used(bank: Bank) -> None:
    used = ids(bank)[:2]
    (new,) = learn(bank, WON, used, Growth(VALIDATION)).added
    assert learn(bank, LOST, used, Growth(VALIDATION)).added == ()
    assert bank.get(new).task == WON.task
    assert len(bank) == 4
    assert [(one.uses, one.wins) for one in bank if one.id in used] == [(2, 1), (2, 1)]
    assert [(one.uses, one.wins) for one in bank if one.id not in used] == [(0, 0), (0, 0)]


def test_vanilla_keeps_failures_too_and_a_search_can_leave_them_out(bank: Bank) -> None:
    (new,) = learn(bank, LOST, [], Growth(VANILLA)).added
    assert not bank.get(new).source.won
    assert bank.search(LOST.task, 1)[0].memory.id == new
    assert bank.search(LOST.task, 1, won_only=True)[0].memory.id != new


def test_what_fails_more_than_half_of_three_games_goes(bank: Bank) -> None:
    good, bad = ids(bank)[:2]
    for won, used in ((True, [good, bad]), (False, [good, bad])):
        assert learn(bank, (won and WON) or LOST, used, Growth()).removed == ()
    assert learn(bank, WON, [good], Growth()).removed == ()
    assert learn(bank, LOST, [bad], Growth()).removed == (bad,)
    assert bad not in ids(bank)
    assert (bank.get(good).uses, bank.get(good).wins) == (3, 2)


def test_half_is_enough_to_stay(bank: Bank) -> None:
    id_ = ids(bank)[0]
    for won in (True, False, True, False):
        assert learn(bank, WON if won else LOST, [id_], Growth()).removed == ()
    assert learn(bank, LOST, [id_], Growth()).removed == (id_,)


def test_adjustment_rewrites_the_nearest_after_a_failure(bank: Bank) -> None:
    first, second = ids(bank)[:2]
    old = bank.get(first)

    def rewrite(one: Memory, played: Trajectory) -> str:
        assert (one.id, played) == (first, LOST)
        return "Look in the drawer too.\n"

    learned = learn(bank, LOST, [first, second], Growth(ADJUSTMENT), rewrite=rewrite)
    assert learned.rewritten == (first,)
    (new,) = learned.added
    better = bank.get(new)
    assert (better.task, better.script, better.steps) == (old.task, "Look in the drawer too.", old.steps)
    assert (better.uses, better.wins) == (0, 0)
    assert first not in ids(bank)
    assert len(bank) == 3
    assert bank.get(second).uses == 1
    assert bank.verify() == []


@pytest.mark.parametrize("answer", ["", "take a box; put it on the dresser."])
def test_adjustment_leaves_what_it_cannot_better(bank: Bank, answer: str) -> None:
    before = ids(bank)
    learned = learn(bank, LOST, before[:1], Growth(ADJUSTMENT), rewrite=lambda one, played: answer)
    assert (learned.added, learned.rewritten) == ((), ())
    assert ids(bank) == before
    gone = learn(bank, LOST, ["0" * 16], Growth(ADJUSTMENT), rewrite=lambda one, played: "new")
    assert gone.added == ()


def test_an_episode_is_learnt_from_once_and_a_model_is_not_asked_again(bank: Bank) -> None:
    used = ids(bank)[:2]

    def write(played: Trajectory) -> str:
        asked.append(played.id)
        return "Put it there."

    asked = list[str]()
    (new,) = learn(bank, WON, used, Growth(), write, episode="run/g1").added
    assert learn(bank, WON, used, Growth(), write, episode="run/g1").added == ()
    assert asked == [WON.id]
    assert [(one.uses, one.wins) for one in bank if one.id in used] == [(1, 1), (1, 1)]
    assert learn(bank, WON, used, Growth(), write, episode="run/g2").added == (new,)
    assert bank.get(new).strength == 2


def test_a_copy_grows_apart_from_its_bank(bank: Bank, tmp_path: Path) -> None:
    before = bank.identity
    bank.export(tmp_path / "sealed")
    for place, one in (("a", bank), ("b", Bank.open(tmp_path / "sealed", ENCODER))):
        with one.copy(tmp_path / place) as copy:
            assert (copy.identity, copy.sealed) == (before, False)
            learn(copy, WON, ids(copy)[:1], Growth(), episode="e")
            assert copy.identity != before
            assert copy.verify() == []
        assert one.identity == before
    with pytest.raises(UsageError, match="is there already"):
        bank.copy(tmp_path / "a")


def test_what_cannot_be(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no growth 'wild'"):
        learn(bank, WON, [], Growth("wild"))
    with pytest.raises(UsageError, match="needs a model that rewrites"):
        learn(bank, WON, [], Growth(ADJUSTMENT))
    bank.export(tmp_path / "sealed")
    with pytest.raises(UsageError, match="is sealed"):
        learn(Bank.open(tmp_path / "sealed", ENCODER), WON, [], Growth())
