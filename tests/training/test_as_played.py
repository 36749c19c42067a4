"""Training and play agree token by token: what a game holds in its one carried cache is what its row is trained on."""

import unicodedata
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx import nn

from duomem_mlx import prompt
from duomem_mlx.prompt import Example
from duomem_mlx.student import episodes
from duomem_mlx.student.episodes import Entry, PlaySettings, play
from duomem_mlx.student.models import Student
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.training.fit import add_adapter_layers, fit, prepare
from duomem_mlx.training.rows import make_epoch, shown_row
from duomem_mlx.training.settings import TrainSettings
from duomem_mlx.trajectory import Step, Trajectory
from tests.student import tiny
from tests.student.test_episodes import from_scratch
from tests.student.test_episodes import said as tokens_said
from tests.training import made

TEMPLATES = ("CHATML", "NO_SYSTEM", "EMPTY_THOUGHT", "THOUGHTS_OF_THE_LAST", "SYSTEM_MOVES", "OPENS_WITH_MORE", "DATED")
EXAMPLES = (Example("find a <|im_end|>", "Look about.\n> look"),)

said = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8).map(
    lambda text: unicodedata.normalize("NFC", text)  # as Qwen3's tokenizer does
)
seen = st.lists(
    st.sampled_from(["a mug", "<|im_end|>", "</think>", "\n", "> go", "Action: lie", " 12", "é\u0301"]), max_size=6
)
steps = st.lists(st.tuples(said, seen.map("".join), st.none() | said), min_size=1, max_size=5)


def trajectory(turns: Any) -> Trajectory:
    made_steps = tuple(Step(action, observation, thought) for action, observation, thought in turns)
    return replace(made.trajectory(1), steps=made_steps)


@dataclass
class Told:
    """A world that answers as the trajectory has it, and minds being told anything else."""

    one: Trajectory
    acted: int = 0
    id: str = "told"
    split: str = "train"
    task: str = "find"
    won: bool = True
    score: float = 1.0

    def reset(self) -> str:
        return self.one.opening

    def step(self, action: str) -> str:
        wanted = self.one.steps[self.acted]
        assert action == wanted.action
        self.acted += 1
        return wanted.observation

    @property
    def done(self) -> bool:
        return self.acted == len(self.one.steps)


def following(history: list[int], row: list[int]) -> int:
    """The row's next token, given that all before it are what was seen."""
    assert history == row[: len(history)]
    return row[len(history)]


class Fed:
    """Stands where `ragged.Rows` does: a game's row is the tokens it was fed."""

    def __init__(self, row: list[int]) -> None:
        self.row = row
        self.held: dict[int, list[int]] = {}

    def feed(self, rows: Any, chunks: Any) -> list[int]:
        for row, chunk in zip(rows, chunks, strict=True):
            self.held.setdefault(id(row), []).extend(chunk)
        return [following(self.held[id(row)], self.row) for row in rows]


class Parrot(nn.Module):
    """Says what the row says, as long as its cache, whose keys are the tokens themselves, holds what the row holds."""

    def __init__(self, row: list[int], vocabulary: int) -> None:
        super().__init__()
        self.layers = [nn.Identity()]
        self.row, self.vocabulary = row, vocabulary

    def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
        if cache is None:  # its head is looked for, nothing is said
            return mx.zeros((*ids.shape, self.vocabulary))
        tokens = ids[:, None, :, None].astype(mx.float32)
        held, _ = cache[0].update_and_fetch(tokens, tokens)
        (history,) = held[:, 0, :, 0].astype(mx.int32).tolist()
        if len(history) == len(self.row):  # the last answer is being taken in; nothing is asked
            return mx.zeros((1, 1, self.vocabulary))
        return (mx.arange(self.vocabulary) == following(history, self.row)).astype(mx.float32)[None, None]


def agree(tokenizer: Any, style: str, one: Trajectory, way: str, patch: pytest.MonkeyPatch) -> None:
    writer = make_writer(tokenizer, style, "Act <|im_start|>.")
    (row,) = make_epoch([one], writer, max_tokens=99999, examples=lambda *_: EXAMPLES, k=1, seed=0).rows
    tokens = row.tokens.tolist()
    shown = (
        EXAMPLES if tokens[: len(writer.start(one.opening, EXAMPLES))] == writer.start(one.opening, EXAMPLES) else ()
    )
    model: Any = None
    if way == "in rounds":
        patch.setattr(episodes, "fed_by_rows", lambda model: None)
        model = Parrot(tokens, max(tokens) + 1)
    else:
        patch.setattr(episodes, "fed_by_rows", lambda model: Fed(tokens))
    chosen = PlaySettings(max_steps=99, max_tokens=999, max_context_tokens=99999, width=1)
    student = tiny.TinyStudent(model, tokenizer)
    turns = list(play(student, writer, [Entry("g", Told(one), shown)], chosen))
    assert turns[-1].end == "won"
    assert [turn.action for turn in turns] == list(one.actions)
    assert [turn.reply.thought for turn in turns] == [
        step.thought if style == prompt.CHAT else None for step in one.steps
    ]
    assert sum(turn.tokens_out for turn in turns) == row.supervised
    assert sum(turn.tokens_new + turn.tokens_out for turn in turns) == len(tokens)


@cache
def tokenizer_with(template: str) -> Any:
    return tiny.tokenizer(getattr(tiny, template), words=("<think>", "</think>"))


@pytest.mark.parametrize("way", ["together", "in rounds"])
@pytest.mark.parametrize("template", [None, *TEMPLATES])
@given(turns=steps)
@settings(max_examples=10)
def test_play_holds_what_the_row_holds(template: str | None, way: str, turns: Any) -> None:
    tokenizer = tokenizer_with(template or "CHATML")
    with pytest.MonkeyPatch.context() as patch:
        agree(tokenizer, prompt.CHAT if template else prompt.COMPACT, trajectory(turns), way, patch)


@pytest.mark.parametrize("way", ["together", "in rounds"])
@given(turns=steps)
@settings(max_examples=5)
def test_so_it_does_with_qwen3s_own_template(qwen3_tokenizer: Any, way: str, turns: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        agree(qwen3_tokenizer, prompt.CHAT, trajectory(turns), way, patch)


def test_every_answer_of_qwen3s_text_is_supervised(qwen3_tokenizer: Any) -> None:
    """Counted in the rendered text: what the assistant says and the token that ends it, no thought, nothing else."""
    many = [made.trajectory(i, turns=1 + i) for i in range(5)]
    rows = make_epoch(many, make_writer(qwen3_tokenizer, prompt.CHAT, "Act."), max_tokens=9999).rows
    for one, row in zip(many, rows, strict=True):
        talk = [{"role": "system", "content": "Act."}, {"role": "user", "content": one.opening}]
        for step in one.steps:
            talk.append({"role": "assistant", "content": prompt.chat_reply(step.action, step.thought)})
            talk.append({"role": "user", "content": step.observation})
        text = qwen3_tokenizer.apply_chat_template(talk[:-1], tokenize=False, enable_thinking=False)
        answers = [part.split("<|im_end|>")[0] for part in text.split("<|im_start|>assistant\n")[1:]]
        assert answers[-1].startswith("<think>\n\n</think>\n\n")
        assert not any("<think>" in answer for answer in answers[:-1])
        spoken = [answer.removeprefix("<think>\n\n</think>\n\n") for answer in answers]
        assert row.supervised == sum(len(qwen3_tokenizer.encode(f"{answer}<|im_end|>")) for answer in spoken)
        shown = shown_row(row, qwen3_tokenizer.decode)
        assert [part for part, trained in shown if trained] == [f"{answer}<|im_end|>" for answer in spoken]
        assert sum(part.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n") for part, _ in shown) == len(spoken)


def test_a_tiny_qwen3_learns_and_plays_with_its_own_template(
    qwen3_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        made.FAMILIES, "qwen3 whole", {**made.FAMILIES["qwen3"], "vocab_size": 151_936, "tie_word_embeddings": True}
    )
    model = made.model("qwen3 whole")
    student = Student(model, qwen3_tokenizer, "tiny", Path(), "an identity", "float32", {"model_type": "qwen3"})
    chosen = TrainSettings(
        rank=4, batch_size=2, iters=4, learning_rate=0.02, held_out=0.0, k=0, prompt_style=prompt.CHAT, max_grad_norm=99
    )
    writer = make_writer(qwen3_tokenizer, prompt.CHAT, "Act.")
    prepared = prepare([made.trajectory(i, turns=2) for i in range(2)], writer, chosen)
    losses: list[float] = []
    fit(student, add_adapter_layers(student, chosen), prepared, chosen, tmp_path, lambda now: losses.append(now.loss))
    assert losses[-1] < 0.9 * losses[0]
    brief = PlaySettings(max_steps=2, max_tokens=4, width=2)
    games = [Entry(f"g{n}", tiny.Echo(f"g{n}", n)) for n in (2, 3)]
    played = tokens_said(student, writer, brief, games)
    for entry in games:
        assert played[entry.key] == from_scratch(student, writer, entry, brief)
