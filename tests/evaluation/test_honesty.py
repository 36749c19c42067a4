"""Nothing but observations, memories and the student's own words reaches a prompt."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duomem_mlx import prompt
from duomem_mlx.environment import find_environment, ordered
from duomem_mlx.evaluation.arms import arm_named
from duomem_mlx.evaluation.runner import Job, Run, play_job
from duomem_mlx.student.episodes import NO_ACTION, PlaySettings
from duomem_mlx.student.transcript import make_writer

from ..student import tiny

SECRET = "gold-task-type"


class Witness:
    """A writer that answers with valid moves and keeps every text the student was given."""

    def __init__(self, inner: Any, actions: Sequence[str]) -> None:
        self.inner, self.actions, self.given = inner, list(actions), list[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def start(self, opening: str, examples: Any) -> list[int]:
        tokens: list[int] = self.inner.start(opening, examples)
        self.given.append(self.inner.tokenizer.decode(tokens))
        return tokens

    def observation(self, text: str) -> list[int]:
        tokens: list[int] = self.inner.observation(text)
        self.given.append(self.inner.tokenizer.decode(tokens))
        return tokens

    def read(self, tokens: Any) -> prompt.Reply:
        return prompt.Reply(self.actions.pop(0) if self.actions else None)


class Guarded:
    """The household, with everything privileged turned into a trap."""

    def __init__(self) -> None:
        self.inner = find_environment("household")
        self.name, self.instructions = self.inner.name, self.inner.instructions
        self.openings: list[str] = []
        self.observations: list[str] = []

    def tasks(self, split: str) -> Sequence[str]:
        return self.inner.tasks(split)

    def kind(self, task_id: str) -> str:
        return SECRET

    def shorten(self, text: str) -> str:
        return str(getattr(self.inner, "shorten")(text))  # noqa: B009

    def open(self, task_id: str) -> Any:
        return GuardedGame(self, self.inner.open(task_id))


class GuardedGame:
    def __init__(self, world: Guarded, inner: Any) -> None:
        self.world, self.inner = world, inner
        self.id, self.split, self.task = inner.id, inner.split, inner.task

    def reset(self) -> str:
        self.world.openings.append(self.inner.reset())
        return self.world.openings[-1]

    def step(self, action: str) -> str:
        self.world.observations.append(self.inner.step(action))
        return self.world.observations[-1]

    def __getattr__(self, name: str) -> Any:
        assert name in ("done", "won", "score"), f"the turn loop asked a game for {name}"
        return getattr(self.inner, name)


class AskedBank:
    """Keeps what it was asked for."""

    by = "task"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def search(self, text: str, k: int, *, exclude_game: str) -> list[Any]:
        self.asked.append(text)
        return [SimpleNamespace(memory=SimpleNamespace(id="m", task="put cup", script="Take it."), cosine=0.5)]


@pytest.mark.parametrize("style", prompt.STYLES)
def test_with_memories_only_their_text_is_added_and_only_the_task_is_asked_for(tmp_path: Path, style: str) -> None:
    world = Guarded()
    (game,) = ordered(world, "embedded", 1)
    shorten = world.shorten if style == prompt.COMPACT else prompt.unchanged
    witness = Witness(make_writer(tiny.tokenizer(), style, world.instructions, shorten), ["look"])
    agent: Any = SimpleNamespace(student=tiny.TinyStudent(tiny.model(), tiny.tokenizer()), writer=witness)
    bank: Any = AskedBank()
    settings = PlaySettings(max_steps=1, max_tokens=3, width=1)
    run = Run(tmp_path, world, [game], "embedded", bank, [1], seed=0, settings=settings)
    list(play_job(run, Job(arm_named("duomem"), 1, "duomem", 0), [game], agent))
    reference = make_writer(tiny.tokenizer(), style, world.instructions, shorten)
    start = reference.start(world.openings[0], [prompt.Example("put cup", "Take it.")])
    assert witness.given[0] == tiny.tokenizer().decode(start)
    assert bank.asked == [world.inner.open(game).task]
    assert SECRET not in "".join([*witness.given, *bank.asked])


@pytest.mark.parametrize("style", prompt.STYLES)
def test_a_prompt_is_made_of_what_the_game_said_and_nothing_else(tmp_path: Path, style: str) -> None:
    world = Guarded()
    game = ordered(world, "embedded", 1)[0]
    shorten = world.shorten if style == prompt.COMPACT else prompt.unchanged
    witness = Witness(make_writer(tiny.tokenizer(), style, world.instructions, shorten), ["look", "dance", "inventory"])
    agent: Any = SimpleNamespace(student=tiny.TinyStudent(tiny.model(), tiny.tokenizer()), writer=witness)
    settings = PlaySettings(max_steps=5, max_tokens=3, width=1)
    run = Run(tmp_path, world, [game], "embedded", None, [0], seed=0, settings=settings)
    (episode,) = play_job(run, Job(arm_named("base"), 0, "base", 0), [game], agent)

    reference = make_writer(tiny.tokenizer(), style, world.instructions, shorten)
    said = [*world.observations, NO_ACTION, NO_ACTION]
    expected = [reference.start(world.openings[0], ()), *(reference.observation(text) for text in said)]
    assert witness.given == [tiny.tokenizer().decode(tokens) for tokens in expected]
    assert len(witness.given) == 1 + len(episode.steps)
    assert SECRET not in "".join(witness.given)
    assert episode.kind == SECRET
