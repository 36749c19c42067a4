"""Tools as OpenAI's client offers them, and the calls that it gets."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import openai
import pytest
from mlx_lm.tool_parsers import json_tools

from duomem_mlx.prompt import CHAT, COMPACT
from duomem_mlx.student.serve.local import Local
from duomem_mlx.student.serve.prompts import make_prompts
from duomem_mlx.student.serve.worker import Worker
from tests.student import tiny
from tests.student.serve.saying import Saying
from tests.student.serve.served import LIMITS, NAME, serving
from tests.student.serve.test_app import HELLO, ask, post, streamed, text_of

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}}
STOP = {"type": "function", "function": {"name": "stop"}}
TOOLS = [WEATHER, STOP]
OSLO = '{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}'
HALT = '{"name": "stop", "arguments": {}}'
# As Qwen's: tools in the system turn, calls between marks.
MARKED = (
    "{% if tools %}{{ '<|im_start|>system\n' + tools | tojson + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content or '') }}"
    "{% for c in m.tool_calls or [] %}"
    '{{ \'<tool_call>\n{"name": "\' + c.function.name + \'", "arguments": \' + c.function.arguments | tojson }}'
    "{{ '}\n</tool_call>' }}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@contextmanager
def saying(text: str, marked: bool = False, style: str = CHAT, most: int = 400) -> Iterator[tuple[str, Saying, Any]]:
    tokenizer = tiny.tokenizer(MARKED if marked else tiny.CHATML)
    if marked:
        tokenizer._tool_call_start, tokenizer._tool_call_end = json_tools.tool_call_start, json_tools.tool_call_end
        tokenizer._tool_parser = json_tools.parse_tool_call
    feeder = Saying(tokenizer, text)
    prompts = make_prompts(tokenizer, style)
    limits = replace(LIMITS, answer_tokens=most)
    with serving(Local(Worker(tokenizer, prompts, feeder, limits), NAME), limits) as url:
        yield url, feeder, tokenizer


def mark(line: str) -> str:
    return f"<tool_call>\n{line}\n</tool_call>"


def calls(message: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]


def gathered(chunks: list[Any]) -> list[tuple[str, Any]]:
    """The calls of a stream, put together as clients do."""
    found: dict[int, list[str]] = {}
    for chunk in chunks:
        for delta in (chunk.choices and chunk.choices[0].delta.tool_calls) or []:
            so_far = found.setdefault(delta.index, ["", ""])
            so_far[0] += delta.function.name or ""
            so_far[1] += delta.function.arguments or ""
    return [(name, json.loads(arguments)) for name, arguments in found.values()]


@pytest.mark.parametrize("marked", [False, True])
def test_a_call_comes_as_a_call(marked: bool) -> None:
    with saying(mark(OSLO) if marked else OSLO, marked) as (url, _, _):
        whole = ask(url, tools=TOOLS)
        (choice,) = whole.choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        assert calls(choice.message) == [("weather", {"city": "Oslo", "days": 2})]
        assert choice.message.tool_calls[0].type == "function"
        chunks = streamed(url, tools=TOOLS)
        assert gathered(chunks) == calls(choice.message)
        assert text_of(chunks) == ""
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"


@pytest.mark.parametrize("marked", [False, True])
def test_what_is_said_before_calls_is_told_and_several_come_together(marked: bool) -> None:
    said = "I look there.\n" + "\n".join(mark(line) if marked else line for line in (OSLO, HALT))
    with saying(said, marked) as (url, _, _):
        message = ask(url, tools=TOOLS).choices[0].message
        assert message.content == "I look there."
        assert calls(message) == [("weather", {"city": "Oslo", "days": 2}), ("stop", {})]
        assert len({call.id for call in message.tool_calls}) == 2
        chunks = streamed(url, tools=TOOLS)
        assert text_of(chunks) == message.content
        assert gathered(chunks) == calls(message)
        assert calls(ask(url, tools=TOOLS, parallel_tool_calls=False).choices[0].message) == calls(message)[:1]


@pytest.mark.parametrize(
    "said",
    [
        "It rains.",
        '{"a": 1}',
        '{"name": "weather", "arguments": {"city": "Os',
        '{"name": "weather", "arguments": {"days": 2}}',
        '{"name": "weather", "arguments": {"city": 7}}',
        '{"name": "weather", "arguments": "Oslo"}',
        '{"name": "weather", "arguments": {"city": "Oslo", "days": 1e999}}',
        '{"name": "weather", "arguments": {"city": "\\ud800"}}',
        '{"name": "fly", "arguments": {}}',
        f"{OSLO}\nand so on",
        f'{OSLO}\n{{"name": "fly"}}',
        "Well {not json}\n",
        '{"name":' + "[" * 40,
    ],
)
@pytest.mark.parametrize("marked", [False, True])
def test_what_is_no_valid_call_is_content(said: str, marked: bool) -> None:
    said = mark(said) if marked else said
    with saying(said, marked) as (url, _, _):
        (choice,) = ask(url, tools=TOOLS).choices
        assert (choice.message.content, choice.finish_reason) == (said, "stop")
        assert choice.message.tool_calls is None
        chunks = streamed(url, tools=TOOLS)
        assert (text_of(chunks), gathered(chunks)) == (said, [])


def test_json_that_says_more_than_a_call_is_content() -> None:
    said = '{"name": "weather", "sky": "rain", "arguments": {"city": "Oslo"}}'
    with saying(said) as (url, _, _):
        message = ask(url, tools=TOOLS).choices[0].message
    assert (message.content, message.tool_calls) == (said, None)


def test_a_call_that_is_cut_is_content() -> None:
    with saying(OSLO, most=20) as (url, _, _):
        (choice,) = ask(url, tools=TOOLS).choices
        assert (choice.message.content, choice.finish_reason) == (OSLO[:20], "length")


@pytest.mark.parametrize("words", [{}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": []}])
def test_nobody_is_called_where_nothing_may_be(words: Any) -> None:
    with saying(OSLO) as (url, feeder, tokenizer):
        (choice,) = ask(url, **words).choices
        assert (choice.message.content, choice.finish_reason) == (OSLO, "stop")
        assert "weather" not in tokenizer.decode(feeder.asked[0])


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize(
    ("choice", "opened"),
    [
        ("required", '{"name": "'),
        ({"type": "function", "function": {"name": "stop"}}, '{"name": "stop", "arguments": {'),
    ],
)
def test_a_call_that_must_be_is_begun(choice: Any, opened: str, marked: bool) -> None:
    begun = mark(opened).partition("\n</")[0] if marked else opened
    with saying(mark(HALT) if marked else HALT, marked) as (url, feeder, tokenizer):
        answer = ask(url, tools=TOOLS, tool_choice=choice)
        assert calls(answer.choices[0].message) == [("stop", {})]
        assert tokenizer.decode(feeder.asked[0]).endswith(f"<|im_start|>assistant\n{begun}")
        assert answer.usage.completion_tokens == len(feeder.tokens)
        assert gathered(streamed(url, tools=TOOLS, tool_choice=choice)) == [("stop", {})]


def test_another_tool_than_the_one_that_must_be_is_content() -> None:
    with saying(OSLO) as (url, _, _):
        only = {"type": "function", "function": {"name": "weather"}}
        assert calls(ask(url, tools=TOOLS, tool_choice=only).choices[0].message)
    with saying('{"name": "stop", "arguments": {"city": "Oslo"}}') as (url, _, _):
        assert ask(url, tools=TOOLS, tool_choice=only).choices[0].message.tool_calls is None


def test_calls_and_what_they_gave_are_read() -> None:
    sent = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    talk = [
        {"role": "system", "content": "Be brief."},
        *HELLO,
        {"role": "assistant", "content": "I look.", "tool_calls": [sent, sent]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain<|im_end|>"},
        {"role": "tool", "tool_call_id": "c1", "content": "hail"},
        {"role": "user", "content": "And?"},
    ]
    with saying("Fine.") as (url, feeder, tokenizer):
        assert ask(url, talk, tools=TOOLS).choices[0].message.content == "Fine."
        line = '{"name": "weather", "arguments": {"city": "Oslo"}}'
        assert tokenizer.decode(feeder.asked[0]) == (
            "<|im_start|>system\nBe brief.\n\n"
            'These tools can be called, each call a line of JSON, {"name": "…", "arguments": {"…": "…"}}:\n'
            "- weather(city: string, days?: integer) – Tells it.\n- stop()<|im_end|>\n"
            f"<|im_start|>user\n{HELLO[0]['content']}<|im_end|>\n"
            f"<|im_start|>assistant\nI look.\n{line}\n{line}<|im_end|>\n"
            "<|im_start|>user\nrain<|im_end|>\nhail\nAnd?<|im_end|>\n<|im_start|>assistant\n"
        )
        assert feeder.asked[0].count(tokenizer.eos_token_id) == 4


def test_nothing_in_a_tool_gives_a_control_token() -> None:
    bad = {"name": "x", "description": "<|im_end|>", "parameters": {"properties": {"<|im_end|>": {"type": "string"}}}}
    for marked in (False, True):
        with saying("Fine.", marked) as (url, feeder, tokenizer):
            ask(url, tools=[{"type": "function", "function": bad}])
            assert tokenizer.decode(feeder.asked[0]).count("<|im_end|>") == 4
            assert feeder.asked[0].count(tokenizer.eos_token_id) == 2


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"tools": 7}, "tools"),
        ({"tools": [7]}, "tools.0"),
        ({"tools": [{"type": "function"}]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": 7}}]}, "tools.0.function.parameters"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": "thing"}}}]},
            "tools.0.function.parameters",
        ),
        ({"tools": TOOLS, "tool_choice": "fly"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "fly"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_what_is_off_is_named(words: Any, field: str) -> None:
    with saying("Fine.") as (url, _, _):
        status, body = post(url, json.dumps({"messages": HELLO, **words}).encode())
        assert (status, body["error"]["param"]) == (400, field)


def test_compact_prompts_have_no_place_for_tools() -> None:
    with (
        saying("Fine.", style=COMPACT) as (url, _, _),
        pytest.raises(openai.BadRequestError, match="no place for tools"),
    ):
        ask(url, tools=TOOLS)
