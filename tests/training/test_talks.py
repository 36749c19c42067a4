"""Rows of runs with tools: what a served student reads, and of it trained just what was answered."""

from typing import Any

import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.prompt import Example
from duomem_mlx.student.serve.prompts import ChatPrompts
from duomem_mlx.tools.runs import exchanges, offered, run_of
from duomem_mlx.training.fit import prepare
from duomem_mlx.training.rows import Row
from duomem_mlx.training.settings import TrainSettings
from duomem_mlx.training.talks import make_talks
from tests.student import tiny
from tests.student.serve.test_tools import MARKED
from tests.tools.made import record, run

EXAMPLES = [Example("weather in Bonn", "Call things."), Example("weather in Lima", "Call them.")]


def trained(row: Row, decode: Any) -> list[str]:
    """The texts that are trained, each up to where something is not."""
    spans: list[list[int]] = []
    for place, (token, learnt) in enumerate(zip(row.tokens.tolist(), row.trained.tolist(), strict=True)):
        if learnt and place and row.trained[place - 1]:
            spans[-1].append(token)
        elif learnt:
            spans.append([token])
    return [decode(span) for span in spans]


@pytest.mark.parametrize(("template", "flat"), [(tiny.CHATML, False), (tiny.CHATML, True), (MARKED, False)])
def test_it_is_what_is_served_and_answers_alone_are_trained(template: str, flat: bool) -> None:
    tokenizer, one = tiny.tokenizer(template), run(flat=flat)
    prompts = ChatPrompts.of(tokenizer)
    assert prompts.own == (template == MARKED)
    rows = make_talks([one], prompts, max_tokens=9999, examples=lambda *_: EXAMPLES[:1], k=1, seed=2).rows
    assert len(rows) == (3 if flat else 1)
    lines = [step.action for step in one.steps]
    if prompts.own:
        lines = [f"<tool_call>\n{line}\n</tool_call>" for line in lines]
    lines[0] = f"I look.\n{lines[0]}" if not prompts.own else f"I look.{lines[0]}"
    assert [text for row in rows for text in trained(row, tokenizer.decode)] == [f"{line}<|im_end|>" for line in lines]
    shown = "weather in Bonn" in tokenizer.decode(rows[0].tokens.tolist())
    for row, asked in zip(rows, exchanges(one), strict=False):
        served = prompts.tokens(asked.messages, EXAMPLES[:1] if shown else [], offered(one))
        assert row.tokens[: len(served)].tolist() == served


def test_memories_are_left_out_where_there_is_no_room_and_a_long_run_is_cut_or_told() -> None:
    prompts, one = ChatPrompts.of(tiny.tokenizer()), run()
    bare = make_talks([one], prompts, max_tokens=9999)
    most = max(
        len(prompts.tokens(a.messages, (), offered(one)) + prompts.answer(a.messages, (), offered(one), a.answer))
        for a in exchanges(one)
    )
    counts = [make_talks([one], prompts, max_tokens=most, examples=lambda *_: EXAMPLES, k=2, seed=s) for s in range(6)]
    assert {epoch.memories for epoch in counts} == {0}
    assert {epoch.left_out for epoch in counts} == {0, 1, 2}
    assert all(epoch.rows[0].tokens.tolist() == bare.rows[0].tokens.tolist() for epoch in counts)
    with pytest.raises(DuomemError, match=f"take {most} tokens"):
        make_talks([one], prompts, max_tokens=most - 1)


def test_a_game_counts_once_however_often_it_was_won() -> None:
    rows = make_talks([run(), run(code="NO-4"), run("Rome")], ChatPrompts.of(tiny.tokenizer()), max_tokens=9999).rows
    assert [row.weight for row in rows] == [1 / 2, 1 / 2, 1]


def test_qwen3s_own_words(qwen3_tokenizer: Any) -> None:
    one = run()
    rows = make_talks([one], ChatPrompts.of(qwen3_tokenizer), max_tokens=9999).rows
    said = [text for row in rows for text in trained(row, qwen3_tokenizer.decode)]
    assert said[1] == f"<tool_call>\n{one.actions[1]}\n</tool_call><|im_end|>"
    assert len(said) == 3


@pytest.mark.parametrize(
    ("said", "learnt"), [('{"name": "Oslo", "sky": "rain"}', 3), ('{"name": "weather", "arguments": {"code": "x"}}', 2)]
)
def test_json_in_words_is_trained_as_such_unless_it_would_be_served_as_a_call(said: str, learnt: int) -> None:
    given, tokenizer = record(), tiny.tokenizer()
    given["messages"][-1] = {"role": "assistant", "content": said}
    rows = make_talks([run_of(given, True, 1.0, "t")], ChatPrompts.of(tokenizer), max_tokens=9999).rows
    texts = [text for row in rows for text in trained(row, tokenizer.decode)]
    assert len(texts) == learnt
    assert (f"{said}<|im_end|>" in texts) == (learnt == 3)


def test_runs_in_which_there_is_nothing_to_learn_are_one_sentence() -> None:
    given, prompts = record(), ChatPrompts.of(tiny.tokenizer())
    said = {"role": "assistant", "content": '{"name": "weather", "arguments": {"code": "x"}}'}
    given["messages"] = [*given["messages"][:2], said]
    silent = run_of(given, True, 1.0, "t")
    settings = TrainSettings(held_out=0, k=0, epochs=1, max_seq_length=9999, prompt_style="chat")
    assert prepare([silent, run()], prompts, settings).epochs[0].rows
    with pytest.raises(UsageError, match=r"no answer to learn in what was played \(1 trajectories\)"):
        prepare([silent], prompts, settings)
