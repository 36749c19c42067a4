"""The tokens of a client's messages: through the model's own chat template, or as `compact-1` writes a game.

What users, tools and memories say gives no control token. What the assistant is said to have said may hold those that
a template looks for in it, such as `</think>`, but none that begins or ends a turn.
"""

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError
from duomem_mlx.prompt import Example, Shorten
from duomem_mlx.student.serve.hearing import Lines, Marked, Reading
from duomem_mlx.student.serve.shapes import SYSTEM_ROLES, ApiError, with_memories, with_system
from duomem_mlx.student.template import Render, knows_tools, renderer
from duomem_mlx.student.transcript import ChatWriter, CompactWriter
from duomem_mlx.student.untrusted import control_tokens, plain, unmarked
from duomem_mlx.tools.calls import Call, Message, action_of, answer_message, calls_of, text_of
from duomem_mlx.tools.offered import Offered, described

_MARK = "\ue000"  # in a text that is rendered: here stands a spelt-out control token, of the number that follows
_MARKS = re.compile("\ue000(\\d+)\ue001")
_ANY = "\ue002"  # any answer
_SOME_ID = "000000000"
_LINES = Lines()
_PASSED_ON = ("name", "tool_call_id", "tool_calls")


class Prompts(Protocol):
    """How messages become tokens."""

    @property
    def style(self) -> str: ...

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Any of these ends an answer, and is no part of it."""

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """So does any of these."""

    @property
    def lead(self) -> str:
        """What an answer begins with and is no part of it."""

    @property
    def reading(self) -> Reading:
        """How calls of tools are told from what else is said."""

    def tokens(
        self, messages: Sequence[Message], examples: Sequence[Example], offered: Offered | None = None
    ) -> list[int]:
        """Up to where the answer begins. Raises ApiError for messages that cannot be put so."""

    def opening(self, messages: Sequence[Message], offered: Offered | None) -> list[int]:
        """What an answer that must call a tool begins with, as far as that is certain."""


def make_prompts(tokenizer: Any, style: str, shorten: Shorten = prompt.unchanged) -> Prompts:
    """For a tokenizer of mlx-lm's kind. Raises DuomemError for chat without a chat template."""
    if style == prompt.COMPACT:
        return CompactPrompts(CompactWriter.of(tokenizer, shorten), frozenset(tokenizer.eos_token_ids))
    return ChatPrompts.of(tokenizer)


def _said(message: Message) -> str:
    """Raises ApiError for what is not said in words."""
    content = message.get("content")
    if isinstance(content, list) and any(not isinstance(part.get("text"), str) for part in content):
        raise ApiError(400, "This model reads text alone, no images, sounds or files.", param="messages")
    return text_of(message)


@dataclass(frozen=True)
class CompactPrompts:
    """A game: the first message of the user is its opening, the assistant's are actions, and what follows them is
    observed. A system text has no place in it."""

    writer: CompactWriter
    stop_tokens: frozenset[int]
    stop_texts: tuple[str, ...] = ("\n",)
    lead: str = " "
    style: str = prompt.COMPACT
    reading: Reading = _LINES

    def opening(self, messages: Sequence[Message], offered: Offered | None) -> list[int]:
        return []

    def tokens(
        self, messages: Sequence[Message], examples: Sequence[Example], offered: Offered | None = None
    ) -> list[int]:
        if offered is not None:
            raise ApiError(
                400,
                "This student's prompts are compact-1, which have no place for tools. Serve one that was trained on "
                "calls of tools, or with --prompt-style chat.",
                param="tools",
            )
        turns: list[tuple[bool, str]] = []  # whether it is an action, what was said
        for message in messages:
            if message["role"] in SYSTEM_ROLES:
                continue
            acts, text = message["role"] == "assistant", _said(message)
            if turns and turns[-1][0] == acts:
                text = f"{turns.pop()[1]}\n{text}"
            turns.append((acts, text))
        if not turns or turns[0][0] or turns[-1][0]:
            raise ApiError(400, "The first and the last message must be the user's or a tool's.", param="messages")
        tokens = self.writer.start(turns[0][1], examples)
        for acts, text in turns[1:]:
            tokens += self.writer.action(text) if acts else self.writer.observation(text)
        return tokens


@dataclass
class _Spelt:
    """Control tokens that somebody spelt out, taken from the texts a template is given and marked there."""

    found: list[str] = field(default_factory=list)

    def mark(self, text: str) -> str:
        self.found.append(text)
        return f"{_MARK}{len(self.found) - 1}\ue001"


@dataclass(frozen=True)
class ChatPrompts:
    """Through the chat template, thinking off."""

    tokenizer: Any
    render: Render
    controls: re.Pattern[str]  # the texts of all control tokens
    turns: re.Pattern[str]  # of those that are special
    markers: tuple[str, ...]
    stop_tokens: frozenset[int]
    stop_texts: tuple[str, ...] = ()
    lead: str = ""
    style: str = prompt.CHAT
    own: bool = False  # the template knows tools, and how they are called
    reading: Reading = _LINES

    @classmethod
    def of(cls, tokenizer: Any) -> "ChatPrompts":
        stop_tokens, markers = frozenset(tokenizer.eos_token_ids), tuple[str, ...]()
        try:
            writer = ChatWriter.of(tokenizer, "")
            stop_tokens, markers = writer.stop_tokens, writer.markers
        except DuomemError:  # a template that cannot be carried from turn to turn can still be rendered anew
            if getattr(tokenizer, "chat_template", None) is None:
                raise
        control, special = control_tokens(tokenizer), frozenset(tokenizer.all_special_ids)
        spelt = {token: text for text, token in tokenizer.get_vocab().items() if token in control | special}
        render = renderer(tokenizer)
        own = knows_tools(render)
        return cls(
            tokenizer=tokenizer,
            render=render,
            controls=_any_of(text for token, text in spelt.items() if token in control),
            turns=_any_of(text for token, text in spelt.items() if token in special),
            markers=markers,
            stop_tokens=stop_tokens,
            own=own,
            reading=_reading(tokenizer) if own else _LINES,
        )

    def tokens(
        self, messages: Sequence[Message], examples: Sequence[Example], offered: Offered | None = None
    ) -> list[int]:
        spelt = _Spelt()
        given, tools = self._given(messages, examples, offered, spelt)
        return self._tokens(self._rendered(given, True, tools), spelt)

    def answer(
        self,
        messages: Sequence[Message],
        examples: Sequence[Example],
        offered: Offered | None,
        answer: Message,
    ) -> list[int]:
        """What is said next where `answer` is, up to and with the token that ends it. Raises ApiError where the
        template does not write an answer as it opens one, or does not end it."""
        spelt = _Spelt()
        given, tools = self._given(messages, examples, offered, spelt)
        said = self._as_given(answer if self.own else _in_lines([answer])[0], spelt)
        whole = self._rendered([*given, said], False, tools)
        opened = self._rendered(given, True, tools)
        if not whole.startswith(opened):  # some open a new answer with what they take from earlier ones
            any_answer = {"role": "assistant", "content": _ANY}
            opened = self._rendered([*given, any_answer], False, tools).partition(_ANY)[0]
        tokens = self._tokens(whole.removeprefix(opened), spelt)
        end = next((place for place, token in enumerate(tokens) if token in self.stop_tokens), None)
        if end is None or not whole.startswith(opened):
            raise ApiError(400, "The model's chat template does not write an answer as it opens one.", param="messages")
        return tokens[: end + 1]

    def opening(self, messages: Sequence[Message], offered: Offered | None) -> list[int]:
        if offered is None or not offered.must:
            return []
        names = [offered.only] if offered.only else ["a", "zz"]
        calls = [Call(name, arguments) for name in names for arguments in ({}, {"a": 1})]
        answers = [self.answer(messages, (), offered, answer_message("", [call], _SOME_ID.format)) for call in calls]
        alike = (len(set(tokens)) == 1 for tokens in zip(*answers, strict=False))
        return answers[0][: sum(itertools.takewhile(bool, alike))]

    def _given(
        self, messages: Sequence[Message], examples: Sequence[Example], offered: Offered | None, spelt: _Spelt
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Messages and tools as the template is given them."""
        tools = list(offered.tools) if offered else []
        if not self.own:
            messages = _in_lines(with_system(messages, described(tools)) if tools else messages)
        given = [self._as_given(message, spelt) for message in with_memories(messages, examples, bool(tools))]
        return given, self._marked(tools if self.own else [], spelt, trusted=False)

    def _tokens(self, text: str, spelt: _Spelt) -> list[int]:
        pieces = _MARKS.split(text)  # text, number, text, number, …, text
        tokens: list[int] = []
        for place, piece in enumerate(pieces):
            if place % 2:
                tokens += plain(self.tokenizer, spelt.found[int(piece)])
            elif piece:
                tokens += self.tokenizer.encode(piece, add_special_tokens=False)
        return tokens

    def _rendered(self, given: list[dict[str, Any]], opened: bool, tools: list[dict[str, Any]]) -> str:
        """Raises ApiError for messages that the template refuses. A system text it has no place for opens the first
        message of the user."""
        try:
            return self.render(given, opened, tools)
        except Exception as error:  # a template raises whatever its author chose
            refused = error
        if folded := _folded(given):
            try:
                return self.render(folded, opened, tools)
            except Exception as error:
                refused = error
        said = " ".join(str(refused).split()).rstrip(".")
        raise ApiError(400, f"The model's chat template refuses these messages: {said}.", param="messages")

    def _as_given(self, message: Message, spelt: _Spelt) -> dict[str, Any]:
        role = "system" if message["role"] in SYSTEM_ROLES else message["role"]
        given: dict[str, Any] = {"role": role, "content": _said(message)}
        given |= {name: message[name] for name in _PASSED_ON if message.get(name) is not None}
        if "tool_calls" in given:
            given["tool_calls"] = [_opened(call) for call in given["tool_calls"]]
        marked: dict[str, Any] = self._marked(given, spelt, trusted=role == "assistant")
        return marked

    def _marked(self, value: Any, spelt: _Spelt, trusted: bool) -> Any:
        if isinstance(value, dict):
            return {
                self._marked(key, spelt, trusted): self._marked(inner, spelt, trusted) for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self._marked(inner, spelt, trusted) for inner in value]
        if not isinstance(value, str):
            return value
        if trusted:
            return self.turns.sub(lambda found: spelt.mark(found[0]), value)
        text = unmarked(value, self.markers)
        guarded = self.controls.sub(lambda found: spelt.mark(found[0]), text)
        if control_tokens(self.tokenizer).isdisjoint(self.tokenizer.encode(guarded, add_special_tokens=False)):
            return guarded
        return spelt.mark(text)  # a tokenizer that sees more in it than what is spelt out


def _reading(tokenizer: Any) -> Reading:
    """How the calls are marked that the template has a model write; where mlx-lm knows no mark they are bare JSON."""
    if not getattr(tokenizer, "has_tool_calling", False):
        return _LINES
    return Marked(tokenizer.tool_call_start, tokenizer.tool_call_end, tokenizer.tool_parser)


def _in_lines(messages: Sequence[Message]) -> list[Message]:
    """For a template that knows no tools: calls are lines of JSON after what else was said, and what tools gave is
    the user's, with what the user says beside it."""
    told: list[Message] = []
    joins = False  # what a tool gave is the last that was told
    for message in messages:
        role, said = message["role"], _said(message)
        if role == "assistant" and message.get("tool_calls"):
            calls = action_of(calls_of(message) or ()) or json.dumps(message["tool_calls"], ensure_ascii=False)
            told.append({"role": role, "content": f"{said.strip()}\n{calls}".strip()})
        elif told and told[-1]["role"] == "user" and (role == "tool" or (role == "user" and joins)):
            told.append({"role": "user", "content": f"{_said(told.pop())}\n{said}"})
        else:
            told.append({"role": "user", "content": said} if role == "tool" else message)
        joins = role == "tool" or (joins and role == "user")
    return told


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted({_MARK, *texts}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))


def _opened(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call whose arguments are an object, as templates want it, where they were its JSON."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
    except (ValueError, RecursionError):
        return call


def _folded(given: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Without a system message; None where there is none or nobody to say it instead."""
    if len(given) < 2 or given[0]["role"] != "system" or given[1]["role"] != "user":
        return None
    system, first, *rest = given
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
