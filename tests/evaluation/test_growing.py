from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemWarning
from duomem_mlx.evaluation import growing, runner
from duomem_mlx.evaluation.arms import arm_named
from duomem_mlx.evaluation.growing import Learning, bank_path
from duomem_mlx.evaluation.results import episode_path, read_episodes
from duomem_mlx.evaluation.runner import Run, evaluate
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.growth import ADJUSTMENT, VALIDATION, Growth
from duomem_mlx.memory.record import Memory
from duomem_mlx.offers import WorldBroke
from duomem_mlx.student.episodes import PlaySettings
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.trajectory import Trajectory

from ..memory.hashing import HashingEncoder, memory
from ..student import tiny

GAMES = [f"train/g{n}" for n in (2, 4, 3, 6, 5, 8)]  # the even ones are won
ARMS = [arm_named(name) for name in ("base", "memories", "random-memories")]
ENCODER = HashingEncoder()


class World:
    name = "echo"
    instructions = "Say something."

    def __init__(self, breaks: str = "") -> None:
        self.breaks = breaks

    def tasks(self, split: str) -> list[str]:
        return GAMES

    def open(self, task_id: str) -> tiny.Echo:
        game = tiny.Echo(task_id, int(task_id[-1]), task=f"say {task_id[-1]}")
        if task_id == self.breaks:
            game.step = lambda action: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        return game


@pytest.fixture(scope="module")
def agent_for() -> Callable[[int | None], Any]:
    """A student that always acts, in its own words."""
    tokenizer = tiny.tokenizer()
    student = tiny.TinyStudent(tiny.model(), tokenizer)
    inner = make_writer(tokenizer, prompt.COMPACT, "Say.")

    class Acts:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def read(self, tokens: Any) -> prompt.Reply:
            return prompt.Reply("say " + "".join(str(token % 10) for token in tokens))

    return lambda adapter: SimpleNamespace(student=student, writer=Acts())


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    with Bank.create(tmp_path / "start", ENCODER) as made:
        made.add([memory(f"say {n}", f"Speak {n} times.") for n in (1, 2)])
    return Bank.open(tmp_path / "start", ENCODER)


def run_in(folder: Path, bank: Bank, learning: Learning | None = Learning(), world: Any = None) -> Run:
    settings = PlaySettings(max_steps=9, max_tokens=4, width=4)
    return Run(folder, world or World(), GAMES, "train", bank, [2], seed=0, settings=settings, learning=learning)


@pytest.fixture(autouse=True)
def own_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    from duomem_mlx.memory import encoder

    monkeypatch.setattr(encoder, "load_encoder", lambda name: ENCODER)


def played(folder: Path) -> dict[str, list[Any]]:
    """What was recalled and done in every game, in the order of play."""
    found = {}
    for label, seeds in read_episodes(folder).items():
        by_game = {episode.game: episode for episode in seeds[0]}
        found[label] = [(game, by_game[game].memories, by_game[game].actions) for game in GAMES]
    return found


def contents(folder: Path, label: str = "memories") -> list[tuple[str, int, int, int]]:
    with Bank.open(bank_path(folder, label, 0), ENCODER) as grown:
        assert grown.verify() == []
        return [(one.id, one.uses, one.wins, one.strength) for one in grown]


def test_an_arm_learns_from_every_game_before_the_next_and_its_start_stays(
    tmp_path: Path, agent_for: Any, bank: Bank
) -> None:
    before = bank.identity
    evaluate(run_in(tmp_path / "r", bank), ARMS, agent_for)
    assert bank.identity == before
    assert [path.name for path in (tmp_path / "r" / "banks").iterdir()] == ["memories"]
    with Bank.open(bank_path(tmp_path / "r", "memories", 0), ENCODER) as grown:
        assert {one.source.game for one in grown} >= {game for game in GAMES if int(game[-1]) % 2 == 0}
        learnt = {one.id: one.source.game for one in grown}
    met = [game for game, memories, _ in played(tmp_path / "r")["memories"] for one in memories if one["id"] in learnt]
    assert met  # what was learnt was recalled
    for place, (game, memories, _) in enumerate(played(tmp_path / "r")["memories"]):
        origins = {learnt[one["id"]] for one in memories if learnt.get(one["id"], "g1") != "g1"}
        assert origins <= set(GAMES[:place]), game
    others = played(tmp_path / "r")["random-memories"]
    assert all(learnt.get(one["id"]) in (None, "g1") for _, memories, _ in others for one in memories)


def test_every_memory_in_a_prompt_gets_the_credit_once(tmp_path: Path, agent_for: Any, bank: Bank) -> None:
    evaluate(run_in(tmp_path / "r", bank, Learning(Growth(prune_after=100))), ARMS[1:2], agent_for)
    uses: dict[str, list[bool]] = {}
    for episode in read_episodes(tmp_path / "r")["memories"][0]:
        for one in episode.memories:
            uses.setdefault(one["id"], []).append(episode.won)
    assert uses
    for id_, used, won, _ in contents(tmp_path / "r"):
        assert (used, won) == (len(uses.get(id_, [])), sum(uses.get(id_, [])))


class Stop(BaseException):
    pass


@pytest.mark.parametrize("moment", ["before learning", "after learning"])
@pytest.mark.parametrize("after", [1, 3, len(GAMES)])
def test_stopped_and_resumed_it_is_the_same_run(
    tmp_path: Path, agent_for: Any, bank: Bank, after: int, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(run_in(tmp_path / "whole", bank), ARMS[1:2], agent_for)
    count = 0

    def stop(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count == after and moment == "before learning":
            raise Stop
        learnt = growing.learn_from(*given)
        if count == after:
            raise Stop
        return learnt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "learn_from", stop)
        with pytest.raises(Stop):
            evaluate(run_in(tmp_path / "stopped", bank), ARMS[1:2], agent_for)
    assert len(list((tmp_path / "stopped" / "episodes" / "memories" / "0").glob("*.json"))) == after
    for _ in range(2):
        evaluate(run_in(tmp_path / "stopped", bank), ARMS[1:2], agent_for)
    for one, other in zip(
        played(tmp_path / "stopped")["memories"], played(tmp_path / "whole")["memories"], strict=True
    ):
        assert one == other
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_sealed_bank_can_be_where_it_starts(tmp_path: Path, agent_for: Any, bank: Bank) -> None:
    bank.export(tmp_path / "sealed")
    evaluate(run_in(tmp_path / "a", bank), ARMS[1:2], agent_for)
    with Bank.open(tmp_path / "sealed", ENCODER) as sealed:
        evaluate(run_in(tmp_path / "b", sealed), ARMS[1:2], agent_for)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_adjustment_asks_the_student_that_played(tmp_path: Path, agent_for: Any, bank: Bank) -> None:
    asked = list[tuple[str, str]]()

    def rewriter(agent: Any) -> Any:
        def rewrite(one: Memory, failed: Trajectory) -> str:
            asked.append((agent.student.name, failed.game))
            return f"Better than {one.id}."

        return rewrite

    learning = Learning(Growth(ADJUSTMENT), lambda played: f"Say {len(played.steps)}.", rewriter)
    evaluate(run_in(tmp_path / "r", bank, learning), ARMS[1:2], agent_for)
    assert asked == [("tiny", game) for game in GAMES if int(game[-1]) % 2]
    with Bank.open(bank_path(tmp_path / "r", "memories", 0), ENCODER) as grown:
        assert any(one.script.startswith("Better than") for one in grown)


def test_a_world_without_words_for_a_lost_game_leaves_its_memories_as_they_are(
    tmp_path: Path, agent_for: Any, bank: Bank
) -> None:
    def speechless(*_: Any) -> Any:
        raise WorldBroke("The world's `general` raised KeyError: 'sofa'.")

    learning = Learning(Growth(ADJUSTMENT), lambda played: f"Say {len(played.steps)}.", lambda agent: speechless)
    with pytest.warns(DuomemWarning, match=r"`general` raised KeyError: 'sofa'\. Of \S+ no memory is rewritten\."):
        evaluate(run_in(tmp_path / "r", bank, learning), ARMS[1:2], agent_for)
    with Bank.open(bank_path(tmp_path / "r", "memories", 0), ENCODER) as grown:
        assert all(grown.learnt(growing.episode_name("memories", 0, game)) for game in GAMES)
        assert sum(one.uses for one in grown) > 0


def test_a_game_that_the_world_broke_off_counts_for_nothing(tmp_path: Path, agent_for: Any, bank: Bank) -> None:
    evaluate(run_in(tmp_path / "r", bank, world=World(breaks=GAMES[0])), ARMS[1:2], agent_for)
    with Bank.open(bank_path(tmp_path / "r", "memories", 0), ENCODER) as grown:
        assert GAMES[0] not in {one.source.game for one in grown}
        assert grown.learnt(growing.episode_name("memories", 0, GAMES[0]))
        assert sum(one.uses for one in grown) <= 2 * (len(GAMES) - 1)


def test_answers_without_an_action_are_no_steps_of_a_memory() -> None:
    from ..memory.test_scripts import trajectory

    episode: Any = trajectory(actions=("look", "", "go to sofa 1", ""))
    assert growing.acted(episode).actions == ("look", "go to sofa 1")


def test_without_learning_nothing_grows(tmp_path: Path, agent_for: Any, bank: Bank) -> None:
    run = run_in(tmp_path / "r", bank, None)
    evaluate(run, ARMS, agent_for)
    assert not (tmp_path / "r" / "banks").exists()
    evaluate(replace(run, folder=tmp_path / "k0", ks=[0], learning=Learning(Growth(VALIDATION))), ARMS[1:2], agent_for)
    assert not (tmp_path / "k0" / "banks").exists()
    assert episode_path(tmp_path / "k0", "memories", 0, GAMES[0]).is_file()
