import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError
from duomem_mlx.evaluation.arms import arm_named
from duomem_mlx.evaluation.results import episode_path, read_episodes, table_rows
from duomem_mlx.evaluation.runner import Run, evaluate
from duomem_mlx.student.agent import Agent, writer_for
from duomem_mlx.student.episodes import PlaySettings
from duomem_mlx.student.transcript import make_writer

from ..student import tiny

GAMES = [f"train/g{n}" for n in (2, 3, 4, 5, 6)]
ARMS = [arm_named(name) for name in ("base", "memories", "random-memories", "adapter", "duomem")]


class Hit(NamedTuple):
    memory: Any
    cosine: float


class FakeBank:
    """Remembers every game; the id of a memory names the game it was made from."""

    by = "task"

    def __init__(self) -> None:
        self.memories = [SimpleNamespace(id=game, task="say", script=f"Speak in {game}.") for game in GAMES]

    def search(self, text: str, k: int, *, exclude_game: str) -> list[Hit]:
        return [Hit(memory, 0.9) for memory in self.memories if memory.id != exclude_game][:k]

    def random(self, k: int, *, seed: int, exclude_game: str) -> list[Hit]:
        return [Hit(memory, 0.1) for memory in reversed(self.memories) if memory.id != exclude_game][:k]


class World:
    name = "echo"
    instructions = "Say something."

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()

    def tasks(self, split: str) -> list[str]:
        return GAMES

    def open(self, task_id: str) -> tiny.Echo:
        self.opened[task_id] += 1
        return tiny.Echo(task_id, int(task_id[-1]))

    def kind(self, task_id: str) -> str:
        return "even" if int(task_id[-1]) % 2 == 0 else "odd"


@pytest.fixture(scope="module")
def agent_for() -> Callable[[int | None], Any]:
    tokenizer = tiny.tokenizer()
    students = {of: tiny.TinyStudent(tiny.model(seed=seed), tokenizer) for seed, of in enumerate((None, 0, 7))}
    writer = make_writer(tokenizer, prompt.COMPACT, "Say.")
    return lambda adapter: SimpleNamespace(student=students[adapter], writer=writer)


def acting(agent: Any) -> Any:
    """The same student, whose every answer is an action."""

    class Acts:
        def __getattr__(self, name: str) -> Any:
            return getattr(agent.writer, name)

        def read(self, tokens: Any) -> prompt.Reply:
            return prompt.Reply("wait")

    return SimpleNamespace(student=agent.student, writer=Acts())


def run_in(folder: Path, world: World) -> Run:
    settings = PlaySettings(max_steps=6, max_tokens=4, width=2)
    return Run(folder, world, GAMES, "train", FakeBank(), [2, 1], seed=0, settings=settings)  # type: ignore[arg-type]


def figures(summary: dict[str, Any]) -> Any:
    timeless = json.loads(json.dumps(summary))
    for arm in timeless["arms"].values():
        del arm["seconds_per_game"]
    return timeless


def test_every_game_is_on_disk_in_every_arm_and_the_summary_counts_them(tmp_path: Path, agent_for: Any) -> None:
    summary = evaluate(run_in(tmp_path, World()), ARMS, agent_for, {"split": "train"})
    episodes = read_episodes(tmp_path)
    assert set(episodes) == {
        *("base", "memories", "memories.k1", "random-memories", "random-memories.k1", "adapter", "duomem", "duomem.k1")
    }
    for label, seeds in episodes.items():
        assert [episode.game for episode in seeds[0]] == GAMES
        assert summary["arms"][label]["won"] == sum(episode.won for episode in seeds[0])
        assert summary["arms"][label]["by_type"]["even"][1] == 3
    assert len(table_rows(summary)) == len(episodes)
    assert json.loads((tmp_path / "summary.json").read_text())["arms"].keys() == summary["arms"].keys()


def test_no_prompt_holds_a_memory_of_its_own_game(tmp_path: Path, agent_for: Any) -> None:
    evaluate(run_in(tmp_path, World()), ARMS, agent_for)
    for seeds in read_episodes(tmp_path).values():
        for episode in seeds[0]:
            assert episode.game not in {memory["id"] for memory in episode.memories}
            assert len(episode.memories) == episode.k


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [1, 7, 19])
def test_a_stopped_run_goes_on_without_playing_a_game_twice(tmp_path: Path, agent_for: Any, after: int) -> None:
    whole = evaluate(run_in(tmp_path / "whole", World()), ARMS, agent_for)
    folder = tmp_path / "stopped"

    def stop(done: int, total: int, label: str) -> None:
        if done >= after:
            raise Stop

    with pytest.raises(Stop):
        evaluate(run_in(folder, World()), ARMS, agent_for, progress=stop)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    world = World()
    assert figures(evaluate(run_in(folder, world), ARMS, agent_for)) == figures(whole)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert sum(world.opened.values()) == 8 * len(GAMES) - len(before)


def test_an_arm_that_was_played_before_is_no_reason_to_play_the_next_without_its_adapter(
    tmp_path: Path, agent_for: Any
) -> None:
    evaluate(run_in(tmp_path, World()), [arm_named("adapter")], agent_for)
    asked = list[int | None]()

    def told(adapter: int | None) -> Any:
        asked.append(adapter)
        return agent_for(adapter)

    evaluate(run_in(tmp_path, World()), [arm_named(name) for name in ("base", "adapter", "duomem")], told)
    assert asked == [None, 0]


def test_a_torn_episode_is_named(tmp_path: Path, agent_for: Any) -> None:
    evaluate(run_in(tmp_path, World()), ARMS[:1], agent_for)
    torn = next(tmp_path.rglob("train__g2.json"))
    torn.write_text(torn.read_text()[:40])
    with pytest.raises(DuomemError, match=r"train__g2\.json cannot be read.*Remove that file"):
        read_episodes(tmp_path)


def test_a_world_that_is_not_parallel_safe_is_played_one_game_at_a_time(tmp_path: Path, agent_for: Any) -> None:
    class Alone(World):
        parallel_safe = False

    begun: list[str] = []
    acted: list[tuple[str, str]] = []

    class Told(tiny.Echo):
        def reset(self) -> str:
            begun.append(self.id)
            return super().reset()

        def step(self, action: str) -> str:
            acted.append((begun[-1], self.id))
            return super().step(action)

    world = Alone()
    world.open = lambda task_id: Told(task_id, int(task_id[-1]))  # type: ignore[method-assign]
    evaluate(run_in(tmp_path, world), ARMS[:1], lambda adapter: acting(agent_for(adapter)))
    assert begun == GAMES
    assert len(acted) == sum(int(game[-1]) for game in GAMES)
    assert all(last == game for last, game in acted)


def test_episodes_of_other_games_are_not_counted(tmp_path: Path, agent_for: Any) -> None:
    whole = run_in(tmp_path, World())
    evaluate(whole, ARMS[:1], agent_for)
    summary = evaluate(replace(whole, games=GAMES[:2]), ARMS[:1], agent_for)
    assert summary["games"] == summary["arms"]["base"]["games"] == 2


def test_whatever_a_world_does_wrong_marks_its_game_and_the_others_are_played(tmp_path: Path, agent_for: Any) -> None:
    def gone(*_: Any) -> Any:
        raise OSError("the simulator is gone")

    class Bad(World):
        def open(self, task_id: str) -> tiny.Echo:
            game: Any = super().open(task_id)
            number = GAMES.index(task_id)
            if number == 0:
                gone()
            if number == 1:
                game.reset = gone
            if number == 2:
                game.reset = lambda: None
            if number == 3:
                game.step = lambda action: b"\xff"
            return game  # type: ignore[no-any-return]

    bank = FakeBank()
    bank.by = "facts"  # found with the opening, so that a game is begun before it is played
    bank.question = lambda task, opening: opening  # type: ignore[attr-defined]
    run = replace(run_in(tmp_path, Bad()), bank=bank)  # type: ignore[arg-type]
    summary = evaluate(run, [arm_named("base"), arm_named("memories")], lambda adapter: acting(agent_for(adapter)))
    assert summary["arms"]["base"]["ends"] == summary["arms"]["memories"]["ends"] == {"environment": 4, "won": 1}
    said = [episode.steps[-1].observation for episode in read_episodes(tmp_path)["memories"][0]]
    assert "raised OSError: the simulator is gone." in said[0]
    assert "`reset` raised OSError" in said[1]
    assert "`reset` gave nothing" in said[2]
    assert "`step` gave bytes" in said[3]


def test_a_game_that_opens_otherwise_from_arm_to_arm_is_marked(tmp_path: Path, agent_for: Any) -> None:
    class Moody(World):
        def open(self, task_id: str) -> tiny.Echo:
            game: Any = super().open(task_id)
            if task_id == GAMES[1]:
                game.reset = lambda opens=self.opened[task_id]: f"Room {opens}."
            return game  # type: ignore[no-any-return]

    summary = evaluate(run_in(tmp_path, Moody()), [arm_named("base"), arm_named("memories")], agent_for)
    assert "other_opening" not in summary["arms"]["base"]["flags"]
    assert summary["arms"]["memories"]["flags"]["other_opening"] == 1


def test_games_that_the_world_broke_off_are_counted_apart(tmp_path: Path, agent_for: Any) -> None:
    class Broken(World):
        def open(self, task_id: str) -> tiny.Echo:
            game = super().open(task_id)
            if task_id == GAMES[1]:
                game.step = lambda action: 1 / 0  # type: ignore[assignment, method-assign, return-value]
            return game

    summary = evaluate(run_in(tmp_path, Broken()), ARMS[:1], lambda adapter: acting(agent_for(adapter)))
    assert summary["arms"]["base"]["ends"]["environment"] == 1
    assert summary["arms"]["base"]["games"] == len(GAMES)


def raising(*_: Any) -> Any:
    raise ValueError("out of order")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *((name, raising) for name in ("kind", "refused", "shorten", "cause", "teacher")),
        ("kind", lambda _: None),
        ("kind", lambda _: b"even"),
        ("shorten", lambda _: 7),
        ("cause", lambda _: 7),
        ("cause", lambda _: "\udce9"),
    ],
)
def test_what_a_world_says_wrong_of_its_games_is_told_with_them_and_the_rest_is_played(
    tmp_path: Path, name: str, answer: Any
) -> None:
    world = World()
    setattr(world, name, answer)
    tokenizer = tiny.tokenizer()
    student = tiny.TinyStudent(tiny.model(seed=0), tokenizer)
    agent = Agent(student, writer_for(student, world, prompt.COMPACT), world)  # type: ignore[arg-type]
    summary = evaluate(run_in(tmp_path, world), ARMS[:1], lambda _: acting(agent), {"split": "train"})
    (episodes,) = read_episodes(tmp_path)["base"].values()
    assert [episode.game for episode in episodes] == GAMES
    told = [step.observation for episode in episodes for step in episode.steps if f"`{name}`" in step.observation]
    if name in ("cause", "teacher"):
        assert not told
    else:
        assert {episode.end for episode in episodes} == {"environment"}
        assert len(told) == len(GAMES)
    if name == "cause":
        (cause,) = summary["arms"]["base"]["causes"]
        assert cause.startswith("The world's `cause` ")
    if name == "teacher":
        (taught,) = read_episodes(tmp_path)["teacher"].values()
        assert [episode.end for episode in taught] == ["environment"] * len(GAMES)


def test_games_whose_files_would_be_called_alike_are_kept_apart(tmp_path: Path, agent_for: Any) -> None:
    alike = ["train/a/2", "train/a__2", "train__a__2", "train/A/2"]
    alike += ["train/" + "ab/" * 60 + "2", "train/" + "é" * 80 + "2"]
    run = replace(run_in(tmp_path, World()), games=alike)
    summary = evaluate(run, ARMS[:1], agent_for)
    assert summary["arms"]["base"]["games"] == len(alike)
    (episodes,) = read_episodes(tmp_path)["base"].values()
    assert sorted(episode.game for episode in episodes) == sorted(alike)
    assert {episode_path(tmp_path, "base", 0, game) for game in alike} == set(tmp_path.rglob("*.json")) - {
        tmp_path / "summary.json"
    }
    assert episode_path(tmp_path, "base", 0, "train/a/2").name == "train__a__2.json"  # as it always was
    world = World()
    evaluate(replace(run, environment=world), ARMS[:1], agent_for)
    assert not world.opened


def test_a_game_is_played_once_also_when_the_file_that_had_its_name_was_removed(tmp_path: Path, agent_for: Any) -> None:
    alike = ["train/a/2", "train/a__2"]
    run = replace(run_in(tmp_path, World()), games=alike)
    evaluate(run, ARMS[:1], agent_for)
    first, second = (episode_path(tmp_path, "base", 0, game) for game in alike)
    first.unlink()
    assert episode_path(tmp_path, "base", 0, alike[1]) == second
    evaluate(run, ARMS[:1], agent_for)
    for seeds in read_episodes(tmp_path).values():
        assert sorted(episode.game for episode in seeds[0]) == alike


def test_where_upper_and_lower_case_are_one_file_two_games_still_have_two(tmp_path: Path, agent_for: Any) -> None:
    run = replace(run_in(tmp_path, World()), games=["train/a2"])
    evaluate(run, ARMS[:1], agent_for)
    first = episode_path(tmp_path, "base", 0, "train/a2")
    first.with_name("train__A2.json").symlink_to(first)  # as such a disk would show it
    other = episode_path(tmp_path, "base", 0, "train/A2")
    assert other not in (first, first.with_name("train__A2.json"))
    assert not other.exists()
