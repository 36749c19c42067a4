from duomem_mlx import prompt
from duomem_mlx.demo import WITH, WITHOUT, GameBegun, GameOver, play_both
from duomem_mlx.environment import find_environment, ordered
from duomem_mlx.student.agent import Agent
from duomem_mlx.student.episodes import PlaySettings, Turn
from duomem_mlx.student.transcript import make_writer

from .student import tiny


def test_both_arms_play_the_same_games_and_each_ends_with_a_row() -> None:
    world = find_environment("household")
    student = tiny.TinyStudent(tiny.model(), tiny.tokenizer())
    writer = make_writer(student.tokenizer, prompt.COMPACT, "", prompt.unchanged)
    agent = Agent(student, writer, world, settings=PlaySettings(max_tokens=4))  # type: ignore[arg-type]
    games = ordered(world, "embedded", 2)
    events = list(play_both(world, agent, agent, games, max_steps=3))
    begun = [event for event in events if isinstance(event, GameBegun)]
    over = [event for event in events if isinstance(event, GameOver)]
    turns = [event for event in events if isinstance(event, Turn)]
    assert [event.arm for event in begun] == [event.arm for event in over] == [WITHOUT, WITH] * 2
    assert [event.task for event in begun] == [event.task for event in over]
    assert sum(event.steps for event in over) == len(turns)
    assert sum(event.tokens for event in over) == sum(turn.tokens_new + turn.tokens_out for turn in turns)
