"""Figures of a tiny student: what is fed, not how quick."""

import pytest

from duomem_mlx.student import bench
from duomem_mlx.student.agent import Agent, writer_for
from duomem_mlx.student.ragged import Rows

from ..training import made
from . import tiny


class Rooms:
    name = "rooms"
    instructions = "Say something."

    def tasks(self, split: str) -> list[str]:
        return []

    def open(self, task_id: str) -> tiny.Echo:
        return tiny.Echo(task_id, int(task_id))


@pytest.mark.parametrize("family", ["llama tied", "gemma3"])
def test_every_length_and_batch_has_its_figure(family: str) -> None:
    speed = bench.Speed(made.model(family))
    read = list(speed.reading((8, 20)))
    written = list(speed.answering((1, 3)))
    assert [found.tokens for found in read] == [8, 20]
    assert [found.batch for found in written] == [1, 3]
    assert all(found.tokens_per_second > 0 for found in [*read, *written])


def test_a_slow_call_is_made_once_and_a_quick_one_again() -> None:
    made_calls = []
    bench._seconds(lambda: made_calls.append(1))
    assert len(made_calls) == 1 + bench.TIMES


def test_slow_calls_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(bench, "SLOW", -1.0)
    bench._seconds(lambda: calls.append(1))
    assert calls == [1]


def test_both_ways_of_feeding_say_the_same() -> None:
    model = made.model()
    prompts = [bench._prompt(9)] * 2
    streams = bench._Fed(Rows(model), 2), bench._Cached(model)
    said = []
    for stream in streams:
        last = stream.feed(prompts)
        said.append([last, stream.feed([[token] for token in last])])
    assert said[0] == said[1]


def test_games_are_played_to_their_end_and_counted() -> None:
    student = tiny.TinyStudent(tiny.model(), tiny.tokenizer())
    world = Rooms()
    agent = Agent(student, writer_for(student, world, "compact-1"), world)  # type: ignore[arg-type]
    over: list[int] = []
    found = bench.playing(agent, world, ["2", "3"], 30, over.append)  # type: ignore[arg-type]
    assert over == [1, 2]
    assert found.games == 2
    assert found.turns >= 2
    assert found.seconds_per_game * 2 == pytest.approx(found.seconds_per_turn * found.turns)
    assert found.tokens_per_game > 0
