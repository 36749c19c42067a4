import gc
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError
from duomem_mlx.prompt import Example
from duomem_mlx.student import cpu, episodes
from duomem_mlx.student.episodes import Entry, PlaySettings, Turn, play
from duomem_mlx.student.ragged import Row
from duomem_mlx.student.transcript import Writer, make_writer
from tests.training import made

from . import tiny

SETTINGS = PlaySettings(max_steps=5, max_tokens=6, width=3)
LENGTHS = (2, 7, 1, 4, 3)


@pytest.fixture(scope="module")
def student() -> tiny.TinyStudent:
    return tiny.TinyStudent(tiny.model(), tiny.tokenizer())


def entries() -> list[Entry]:
    return [Entry(f"g{n}", tiny.Echo(f"g{n}", n), (Example("say", "Speak."),)) for n in LENGTHS]


def by_game(turns: Any) -> dict[str, list[Turn]]:
    found: dict[str, list[Turn]] = defaultdict(list)
    for turn in turns:
        found[turn.key].append(turn)
    return dict(found)


class Heard:
    """A writer that keeps the tokens of the answer it has just read."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.tokens: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.writer, name)

    def read(self, tokens: Any) -> prompt.Reply:
        self.tokens = list(tokens)
        return self.writer.read(tokens)


def said(
    student: tiny.TinyStudent, writer: Writer, settings: PlaySettings, games: Iterable[Entry] | None = None
) -> dict[str, list[list[int]]]:
    """The answers' tokens, by game."""
    heard: Any = Heard(writer)
    found: dict[str, list[list[int]]] = defaultdict(list)
    for turn in play(
        student, heard, entries() if games is None else games, settings
    ):  # which comes right after its answer was read
        found[turn.key].append(heard.tokens)
    return dict(found)


def from_scratch(student: tiny.TinyStudent, writer: Writer, entry: Entry, settings: PlaySettings) -> list[list[int]]:
    """The plain reference: the whole history through the model for every single token, no cache."""
    import mlx.core as mx

    game = entry.game
    tokens = writer.start(game.reset(), entry.examples)
    answers = []
    for _ in range(settings.max_steps):
        answer: list[int] = []
        while len(answer) < settings.max_tokens and not (answer and answer[-1] in writer.stop_tokens):
            logits = student.model(mx.array([tokens + answer]))[0, -1]
            answer.append(int(mx.argmax(logits).item()))
        answers.append(answer)
        reply = writer.read(answer)
        outcome = "There was no action in that answer." if reply.action is None else game.step(reply.action)
        if game.done:
            break
        tokens += answer + ([] if answer[-1] in writer.stop_tokens else writer.closing()) + writer.observation(outcome)
    return answers


def says_the_same(student: tiny.TinyStudent, writer: Writer, settings: PlaySettings) -> bool:
    wanted = {entry.key: from_scratch(student, writer, entry, settings) for entry in entries()}
    return said(student, writer, settings) == wanted


@pytest.mark.parametrize("style", prompt.STYLES)
@pytest.mark.parametrize("width", [1, 3])
def test_the_same_tokens_as_a_run_without_any_cache(student: tiny.TinyStudent, style: str, width: int) -> None:
    writer = make_writer(student.tokenizer, style, "Act.")
    assert says_the_same(student, writer, PlaySettings(max_steps=6, max_tokens=6, width=width))


@pytest.mark.parametrize("family", [*made.FAMILIES, *made.OTHER_CACHES])
@pytest.mark.parametrize("width", [1, 3])
def test_every_family_says_the_same(family: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes.cpu, "lanes", lambda most: min(2, most))
    other = tiny.TinyStudent(made.model(family), tiny.tokenizer())
    writer = make_writer(other.tokenizer, prompt.COMPACT, "Act.")
    assert says_the_same(other, writer, PlaySettings(max_steps=6, max_tokens=6, width=width))


@pytest.mark.parametrize("family", ["qwen3", "granite (scaled)"])
def test_turns_in_rounds_say_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "fed_by_rows", lambda model: None)
    other = tiny.TinyStudent(made.model(family), tiny.tokenizer())
    assert says_the_same(other, make_writer(other.tokenizer, prompt.COMPACT, "Act."), SETTINGS)


def test_every_game_is_played_to_its_end_and_each_token_computed_once(student: tiny.TinyStudent) -> None:
    writer = make_writer(student.tokenizer, prompt.COMPACT, "Act.")
    for key, turns in by_game(play(student, writer, entries(), SETTINGS)).items():
        assert [turn.end is None for turn in turns] == [True] * (len(turns) - 1) + [False]
        assert turns[-1].end in ("won", "lost", "steps")
        assert len(turns) <= SETTINGS.max_steps
        assert turns[0].tokens_cached == 0
        for before, after in pairwise(turns):
            assert after.tokens_cached == before.tokens_cached + before.tokens_new + before.tokens_out, key
            assert after.observation == before.outcome


@pytest.mark.parametrize("width", [1, 2, 3])
def test_no_more_games_are_in_play_than_there_are_seats(student: tiny.TinyStudent, width: int) -> None:
    begun, in_play = list[str](), set[str]()
    most = 0

    def waiting() -> Any:
        for entry in entries():
            begun.append(entry.key)
            in_play.add(entry.key)
            yield entry

    writer = make_writer(student.tokenizer, prompt.COMPACT, "Act.")
    for turn in play(student, writer, waiting(), PlaySettings(max_steps=5, max_tokens=6, width=width)):
        most = max(most, len(in_play))
        if turn.end is not None:
            in_play.remove(turn.key)
    assert (most, in_play) == (width, set())
    assert begun == [f"g{n}" for n in LENGTHS]


def test_a_world_that_breaks_ends_its_own_game_only(student: tiny.TinyStudent) -> None:
    class Broken(tiny.Echo):
        def step(self, action: str) -> str:
            raise ValueError("the simulator died")

    class AlwaysActs:
        def __init__(self, inner: Writer) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def read(self, tokens: Any) -> prompt.Reply:
            return prompt.Reply("wait")

    writer: Any = AlwaysActs(make_writer(student.tokenizer, prompt.COMPACT, "Act."))
    played = by_game(
        play(student, writer, [Entry("bad", Broken("bad", 2)), Entry("good", tiny.Echo("good", 2))], SETTINGS)
    )
    assert [turn.end for turn in played["bad"]] == ["environment"]
    assert "the simulator died" in played["bad"][0].outcome
    assert played["good"][-1].end == "won"


def test_what_the_student_did_wrong_is_flagged(student: tiny.TinyStudent) -> None:
    writer = make_writer(student.tokenizer, prompt.CHAT, "Act.")
    game = tiny.Echo("long", 99)
    turns = list(play(student, writer, [Entry("long", game)], SETTINGS, refused=lambda text: True))
    assert len(turns) == SETTINGS.max_steps
    assert turns[-1].end == "steps"
    assert all("no_action" in turn.flags or "refused" in turn.flags for turn in turns)
    assert all(("cut" in turn.flags) == (turn.tokens_out == SETTINGS.max_tokens) for turn in turns)


def test_a_history_past_the_context_ends_the_game(student: tiny.TinyStudent) -> None:
    writer = make_writer(student.tokenizer, prompt.COMPACT, "Act.")
    settings = PlaySettings(max_steps=50, max_tokens=6, max_context_tokens=950, width=1)
    turns = list(play(student, writer, [Entry("long", tiny.Echo("long", 99))], settings))
    assert turns[-1].end == "context"
    assert turns[-1].tokens_cached + turns[-1].tokens_new + turns[-1].tokens_out <= 950


@pytest.mark.parametrize(
    ("settings", "shown", "fix"),
    [
        (PlaySettings(max_context_tokens=250), False, "Take a model with a longer context."),
        (PlaySettings(max_context_tokens=250), True, "Use fewer memories (--k)."),
        (PlaySettings(max_tokens=9999), False, "Use shorter answers (--max-tokens)."),
        (PlaySettings(max_tokens=9999), True, "Use shorter answers (--max-tokens) or fewer memories (--k)."),
    ],
)
def test_a_start_past_the_context_is_told(
    student: tiny.TinyStudent, settings: PlaySettings, shown: bool, fix: str
) -> None:
    writer = make_writer(student.tokenizer, prompt.COMPACT, "Act.")
    entry = Entry("long", tiny.Echo("long", 99), [Example("say", "Speak.")] if shown else ())
    with pytest.raises(DuomemError, match=r"start of game long is 7\d\d tokens") as caught:
        list(play(student, writer, [entry], settings))
    assert caught.value.fix == fix


def test_a_game_that_is_over_holds_no_cache(student: tiny.TinyStudent, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def trimmed() -> None:
        gc.collect()
        held.append(sum(isinstance(one, Row) and one.length > 0 for one in gc.get_objects()))

    monkeypatch.setattr(cpu, "trim_heap", trimmed)
    writer = make_writer(student.tokenizer, prompt.COMPACT, "Act.")
    entries = [Entry(name, tiny.Echo(name, 99)) for name in ("a", "b", "c")]
    list(play(student, writer, entries, PlaySettings(max_steps=2, max_tokens=3, width=1)))
    assert held == [0, 0, 0]
