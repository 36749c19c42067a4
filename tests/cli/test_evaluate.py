"""`evaluate` on a tiny student: arms, banks, what is told of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.evaluation.results import read_episodes
from duomem_mlx.memory import encoder
from duomem_mlx.memory.bank import Bank

from ..memory.hashing import HashingEncoder, memory
from ..student.test_models import save_adapter, save_base

ARMS = ["base", "own-memories", "memories", "adapter", "adapter-own-memories", "duomem"]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A call that evaluates a tiny student with an adapter and a bank in two games of one step, into `out`."""
    monkeypatch.setattr(encoder, "load_encoder", lambda name: HashingEncoder())
    monkeypatch.chdir(tmp_path)
    save_adapter(tmp_path / "adapter", str(save_base(tmp_path / "base")))
    for name, teacher in (("bank", "search"), ("own", "base")):
        with Bank.create(tmp_path / name, HashingEncoder()) as made:
            made.add([memory(f"put some box on shelf {n}", f"As {name}: {n}.", teacher=teacher) for n in range(4)])
    games = ["--games", "generated:3:2", "--max-steps", "1", "--max-tokens", "2", "--k", "2"]
    return ["evaluate", "--model", "base", "--adapter", "adapter", "--memories", "bank", *games, "--out", "out"]


def test_arms_of_own_memories_recall_from_the_students_own_bank_alone(call, words, tmp_path) -> None:
    status, out, err = call(*words, "--own-memories", "own", "--json")
    assert status == 0, err
    summary = json.loads(out)
    assert [arm for arm in summary["arms"] if arm != "teacher"] == ARMS
    assert summary["own_memories"] == "own"
    with Bank.open(tmp_path / "bank") as bank, Bank.open(tmp_path / "own") as own:
        ids = {"own-memories": {one.id for one in own}, "memories": {one.id for one in bank}}
        assert summary["own_memories_hash"] == own.identity
    ids |= {"adapter-own-memories": ids["own-memories"], "duomem": ids["memories"], "base": set(), "adapter": set()}
    for arm, seeds in read_episodes(tmp_path / "out").items():
        recalled = {one["id"] for episode in seeds[0] for one in episode.memories}
        assert recalled <= ids.get(arm, set())
        assert bool(recalled) == bool(ids.get(arm))


def test_without_such_a_bank_the_arms_are_not_played_and_asked_for_they_are_refused(call, words) -> None:
    status, out, _ = call(*words, "--json")
    assert status == 0
    assert not any("own" in arm for arm in json.loads(out)["arms"])
    status, _, err = call(*words, "--arm", "adapter-own-memories")
    assert status == 2
    assert "needs a bank of the student's own" in err
    assert "--own-memories" in err


def test_a_bank_that_another_made_or_in_games_that_measure_is_told(call, words, tmp_path) -> None:
    assert "not all base's own" not in call(*words, "--own-memories", "own")[2]
    with Bank.create(tmp_path / "strange", HashingEncoder()) as made:
        made.add([memory("put some box on shelf 1", teacher="search", split="valid_seen")])
    _, _, err = call(*words, "--own-memories", "strange", "--overwrite")
    assert "strange is not all base's own: it holds 1 of search" in err
    assert "made in games of valid_seen" in err


def test_both_kinds_of_banks_learn_each_in_its_own_arms(call, words, tmp_path) -> None:
    assert call(*words, "--own-memories", "own", "--learn", "vanilla")[0] == 0
    grown = {path.name for path in (tmp_path / "out" / "banks").iterdir()}
    assert grown == {"own-memories", "memories", "adapter-own-memories", "duomem"}
    for arm in grown:
        with Bank.open(tmp_path / "out" / "banks" / arm / "0") as bank:
            scripts = {one.script.split(":")[0] for one in bank}
        assert ("As own" in scripts, "As bank" in scripts) == ("own" in arm, "own" not in arm)


def seeded(folder: Path, seed: int, **settings: Any) -> Path:
    """A copy of the adapter beside `folder`, trained with another seed, as it says."""
    made = shutil.copytree(folder.parent / "adapter", folder)
    record = json.loads((made / "duomem.json").read_text())
    (made / "duomem.json").write_text(json.dumps({**record, "settings": {"seed": seed, **settings}}))
    return made


def test_adapters_of_several_seeds_are_one_arm(call, words, tmp_path) -> None:
    for seed in (5, 3):
        seeded(tmp_path / f"seed{seed}", seed)
    at = words.index("--adapter")
    several = [*words[:at], "--adapter", "seed5", "--adapter", "seed3", *words[at + 2 :], "--arm", "base"]
    status, out, err = call(*several, "--arm", "adapter", "--json")
    assert status == 0, err
    assert "differ in more" not in err
    summary = json.loads(out)
    assert list(summary["adapters"]) == ["3", "5"]
    assert summary["adapter"] == "seed3"
    assert list(summary["arms"]["adapter"]["seeds"]) == ["3", "5"]
    assert {path.name for path in (tmp_path / "out" / "episodes" / "adapter").iterdir()} == {"3", "5"}
    status, out, err = call(*several, "--arm", "adapter")  # the same call finds all of it played
    assert status == 0
    assert "adapter, seed 5" in out
    assert "--adapter seed5" in err.splitlines()[-1]


def test_adapters_that_their_seeds_do_not_tell_apart(call, words, tmp_path) -> None:
    seeded(tmp_path / "a", 1)
    seeded(tmp_path / "b", 1)
    seeded(tmp_path / "c", 2, rank=16)
    for names, says in (
        (["a", "b"], "were both trained with seed 1"),
        (["a", "adapter"], "does not say its training seed"),
        (["a", "none"], "--adapter is none and something else"),
    ):
        more = [word for name in names for word in ("--adapter", name)]
        at = words.index("--adapter")
        status, _, err = call(*words[:at], *words[at + 2 :], *more)
        assert status == 2
        assert says in err
    assert not (tmp_path / "out").exists()
    at = words.index("--adapter")
    _, _, err = call(*words[:at], *words[at + 2 :], "--adapter", "a", "--adapter", "c", "--arm", "adapter")
    assert "differ in more than their seed (rank)" in err


def test_other_weights_are_told_once_and_the_teachers_are_in_the_results(call, words, tmp_path) -> None:
    path = tmp_path / "adapter" / "duomem.json"
    record = json.loads(path.read_text())
    base = {**record["base"], "weights": "0" * 64}
    path.write_text(json.dumps({**record, "base": base, "data": {"teachers": ["somebody"]}}))
    status, out, err = call(*words, "--arm", "adapter", "--arm", "duomem", "--json")
    assert status == 0
    assert err.count("trained on other weights of the same base") == 1
    assert json.loads(out)["teachers"] == ["search", "somebody"]


def test_the_shipped_adapter_is_for_the_world_it_was_taught_alone(capsys: pytest.CaptureFixture[str]) -> None:
    from duomem_mlx.cli import wiring
    from duomem_mlx.household.environment import household

    from ..training.guided import Guided

    assert wiring.adapter_path(None, None, household()) is not None
    assert wiring.adapter_path(None, None, Guided()) is None
    assert f"none is shipped for {Guided().name}" in capsys.readouterr().err
