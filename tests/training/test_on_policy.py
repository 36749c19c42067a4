"""Rounds in which a tiny student plays, is corrected and trained; stopped anywhere they end the same."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx import prompt
from duomem_mlx.errors import UsageError
from duomem_mlx.prompt import Example
from duomem_mlx.student import models
from duomem_mlx.student.models import Student, add_adapter
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.training.budget import Means
from duomem_mlx.training.fit import add_adapter_layers, fit, prepare
from duomem_mlx.training.on_policy import Course, Rounds, games_in, games_of, go_round, lessons, play_round
from duomem_mlx.training.rows import memory_count
from duomem_mlx.training.settings import TrainSettings
from duomem_mlx.trajectory import Trajectory, read_trajectories
from tests.student import tiny
from tests.teachers.corridor import Corridor
from tests.training import made
from tests.training.guided import Guided, taught

SETTINGS = TrainSettings(rank=4, dropout=0.1, batch_size=3, learning_rate=0.02, save_every=2, held_out=0.0, k=0)
ROUNDS = Rounds(rounds=2, games=6, width=4, max_steps=20, rate=0.02)  # so slow that there is something left to correct
ADAPTER = ("adapter_config.json", "adapters.safetensors", "duomem.json")
TAUGHT = taught(range(24))


def bare() -> Student:
    config = {"model_type": "llama", "hidden_size": 32}
    return Student(made.model(), tiny.tokenizer(), "tiny", Path(), "an identity", "float32", config)


def load(adapter: Path) -> Student:
    return add_adapter(bare(), adapter)


def writer(student: Any) -> Any:
    return make_writer(student.tokenizer, prompt.COMPACT, "Say walk.")


def course(world: Guided, **changes: Any) -> Course:
    return Course(world, world.teacher, writer, SETTINGS, replace(ROUNDS, **changes))


def fit_in(here: Path, student: Student, prepared: Any, settings: TrainSettings) -> None:
    fit(student, add_adapter_layers(student, settings), prepared, settings, here, means=Means())


@pytest.fixture(scope="module")
def imitation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rounds/0 of a run."""
    folder = tmp_path_factory.mktemp("imitation")
    student = bare()
    prepared = prepare(TAUGHT, writer(student), replace(SETTINGS, iters=12))
    fit_in(folder, student, prepared, replace(SETTINGS, iters=12))
    return folder


def begun(folder: Path, imitation: Path) -> Path:
    for name in ADAPTER:
        (folder / "rounds" / "0").mkdir(parents=True, exist_ok=True)
        (folder / "rounds" / "0" / name).write_bytes((imitation / name).read_bytes())
    return folder


def content(file: Path) -> list[Trajectory]:
    return [replace(one, seconds=0.0, created="") for one in read_trajectories(file)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, imitation: Path) -> Path:
    folder = begun(tmp_path_factory.mktemp("undisturbed"), imitation)
    go_round(folder, games_of(TAUGHT), course(Guided()), load, fit_in)
    return folder


def test_a_run_leaves_its_games_and_adapters(undisturbed: Path, imitation: Path) -> None:
    games = games_of(TAUGHT)
    for number in (1, 2):
        here = undisturbed / "rounds" / str(number)
        played = content(here / "trajectories.jsonl")
        assert [one.game for one in played] == games_in(number, games, ROUNDS.games)
        assert all(len(one.steps) <= ROUNDS.max_steps and one.teacher["student_steps"] <= 10 for one in played)
        record = json.loads((here / "duomem.json").read_text())
        assert record["settings"]["learning_rate"] == SETTINGS.learning_rate * ROUNDS.rate
        assert record["data"]["trajectories"] == sum(one.won for one in played)
        before = undisturbed / "rounds" / str(number - 1)
        assert record["begun_from"] == models.adapters.identity(before)
        assert (here / ADAPTER[1]).read_bytes() != (before / ADAPTER[1]).read_bytes()
    for name in ADAPTER:
        assert (undisturbed / name).read_bytes() == (undisturbed / "rounds" / "2" / name).read_bytes()


def test_what_was_corrected_is_done_right_in_the_next_round(tmp_path: Path, imitation: Path) -> None:
    folder = begun(tmp_path, imitation)
    go_round(folder, games_of(TAUGHT), course(Guided(), rate=0.5), load, fit_in)
    wrong = [
        sum(
            step.wanted is not None
            for one in content(folder / "rounds" / n / "trajectories.jsonl")
            for step in one.steps
        )
        for n in "12"
    ]
    assert wrong[1] < wrong[0] / 2


class Stop(BaseException):
    """A kill that nothing can catch."""


def stopping_fit(at: int, how: type[BaseException]) -> Any:
    """A fit that is stopped after `at` steps of the first round that gets so far."""

    def fit_or_stop(here: Path, student: Student, prepared: Any, settings: TrainSettings) -> None:
        def report(now: Any) -> None:
            if now.step == at:
                raise how

        fit(student, add_adapter_layers(student, settings), prepared, settings, here, report, Means())

    return fit_or_stop


PLACES = [("play", 1, 0), ("play", 1, 4), ("play", 2, 4), ("train", 1), ("play", 2, 6)]


@pytest.mark.parametrize(("at", "how"), [*((at, Stop) for at in PLACES), (("train", 1), KeyboardInterrupt)])
def test_stopped_anywhere_it_ends_with_the_same_bytes(tmp_path, imitation, undisturbed, at, how):
    folder, games = begun(tmp_path, imitation), games_of(TAUGHT)

    def stop(number: int, played: int) -> None:
        if ("play", number, played) == at:
            raise how

    with pytest.raises(how):
        go_round(folder, games, course(Guided()), load, stopping_fit(1, how) if at[0] == "train" else fit_in, stop)
    there = [one.game for file in sorted(folder.glob("rounds/*/trajectories.jsonl")) for one in content(file)]
    world = Guided()
    go_round(folder, games, course(world), load, fit_in)
    assert sorted(world.opened + there) == sorted(games_in(1, games, 6) + games_in(2, games, 6))
    for place in ("", "rounds/1", "rounds/2"):
        for name in ADAPTER:
            assert (folder / place / name).read_bytes() == (undisturbed / place / name).read_bytes(), (place, name)
    for number in "12":
        file = Path("rounds") / number / "trajectories.jsonl"
        assert content(folder / file) == content(undisturbed / file)
    world = Guided()
    go_round(folder, games, course(world), load, lambda *what: pytest.fail("trained again"))
    assert world.opened == []


@pytest.mark.parametrize("bytes_lost", [1, 300, 3000])
def test_a_torn_file_of_games_is_mended_and_whole_groups_are_played_again(tmp_path, imitation, bytes_lost):
    games, file = games_of(TAUGHT)[:8], tmp_path / "trajectories.jsonl"
    list(play_round(file, 1, games, load(imitation), course(Guided())))
    whole = content(file)
    file.write_bytes(file.read_bytes()[:-bytes_lost])
    world = Guided()
    counts = list(play_round(file, 1, games, load(imitation), course(world)))
    assert content(file) == whole
    assert world.opened == games[counts[0] :]
    assert counts[0] % 4 == 0
    assert counts[-1] == 8


def test_rows_show_the_very_memories_that_play_showed(tmp_path: Path, imitation: Path, monkeypatch: Any) -> None:
    from duomem_mlx.training import on_policy

    shown: dict[str, Sequence[Example]] = {}

    def recall(task: str, opening: str, game: str) -> list[Example]:
        return [Example(f"{task} of {game}, {i}", "Walk.") for i in range(3)]

    real = on_policy.play

    def watched(student: Any, write: Any, entries: Any, settings: Any, refused: Any) -> Any:
        kept = list(entries)
        shown.update({entry.key: entry.examples for entry in kept})
        return real(student, write, kept, settings, refused)

    monkeypatch.setattr(on_policy, "play", watched)
    plan = replace(course(Guided()), settings=replace(SETTINGS, k=3), recall=recall)
    games, student = games_of(TAUGHT)[:12], load(imitation)
    list(play_round(tmp_path / "t.jsonl", 1, games, student, plan))
    played = list(read_trajectories(tmp_path / "t.jsonl"))
    assert {len(examples) for examples in shown.values()} == {0, 1, 2, 3}
    prepared = lessons(played, 1, writer(student), plan)
    assert prepared is not None
    rows = {row.id: row for row in prepared.epochs[0].rows}
    assert rows
    for one in played:
        assert len(shown[one.game]) == memory_count(SETTINGS.seed, one.game, 1, 3)
        if one.id in rows:
            start = writer(student).start(one.opening, shown[one.game])
            assert rows[one.id].tokens[: len(start)].tolist() == start


def test_all_games_that_were_won_are_trained_if_the_two_ever_parted() -> None:
    plan, write = course(Guided()), writer(bare())
    agreed = [replace(one, teacher={"kind": "on-policy", "student_steps": len(one.steps)}) for one in TAUGHT[:3]]
    assert lessons(agreed, 1, write, plan) is None
    finished = replace(TAUGHT[3], teacher={"kind": "on-policy", "student_steps": 1})
    lost = replace(TAUGHT[4], teacher={"kind": "on-policy", "student_steps": 1}, won=False, end="steps")
    prepared = lessons([*agreed, finished, lost], 1, write, plan)
    assert prepared is not None
    assert [row.id for row in prepared.epochs[0].rows] == [one.id for one in (*agreed, finished)]


def test_a_round_without_anything_to_learn_keeps_the_adapter(tmp_path, imitation, monkeypatch):
    monkeypatch.setattr("duomem_mlx.training.on_policy.lessons", lambda *what: None)
    folder = begun(tmp_path, imitation)
    go_round(folder, games_of(TAUGHT), course(Guided(), rounds=1), load, lambda *what: pytest.fail("trained"))
    for name in ADAPTER:
        assert (folder / name).read_bytes() == (imitation / name).read_bytes()


def test_when_time_is_up_the_newest_adapter_is_there_and_the_rest_is_done_later(tmp_path, imitation, undisturbed):
    folder, games = begun(tmp_path, imitation), games_of(TAUGHT)
    go_round(folder, games, course(Guided()), load, fit_in, until=0.0)
    assert (folder / ADAPTER[1]).read_bytes() == (imitation / ADAPTER[1]).read_bytes()

    def unfinished(here: Path, student: Student, prepared: Any, settings: TrainSettings) -> None:
        fit(student, add_adapter_layers(student, settings), prepared, settings, here, means=Means(), until=0.0)

    go_round(folder, games, course(Guided()), load, unfinished)
    assert not (folder / "rounds" / "2").exists() or not list((folder / "rounds" / "2").iterdir())
    assert (folder / ADAPTER[1]).read_bytes() == (folder / "rounds" / "1" / ADAPTER[1]).read_bytes()
    go_round(folder, games, course(Guided()), load, fit_in)
    for name in ADAPTER:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()


def test_every_game_is_played_once_before_any_comes_again() -> None:
    games = [str(i) for i in range(10)]
    rounds = [games_in(number, games, 4) for number in range(1, 6)]
    assert sorted(game for chosen in rounds for game in chosen) == sorted(games * 2)
    assert all(len(set(chosen)) == 4 for chosen in rounds)
    assert sorted(games_in(3, games, 99)) == games


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"games": 0}, {"refusals": 0}, {"width": 0}, {"max_steps": 1}])
def test_senseless_rounds_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        replace(ROUNDS, **wrong)


def test_a_world_that_bears_one_open_game_has_one(tmp_path: Path) -> None:
    class Alone(Guided):
        parallel_safe = False
        last: Corridor | None = None
        early = 0

        def open(self, task_id: str) -> Corridor:
            self.early += self.last is not None and not self.last.done
            self.last = Corridor(task_id)
            return self.last

    world, games = Alone(), [f"train/{number}" for number in (1, 2, 3, 4)]
    assert list(play_round(tmp_path / "played.jsonl", 1, games, bare(), course(world))) == [0, 4]
    assert [one.won for one in content(tmp_path / "played.jsonl")] == [True] * 4
    assert world.early == 0
