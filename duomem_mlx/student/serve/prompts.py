"""The tokens of a client's messages: through the model's own chat template, or as `compact-1` writes a game.

What users, tools and memories say gives no control token. What the assistant is said to have said may hold those that
a template looks for in it, such as `</think>`, but none that begins or ends a turn.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError
from duomem_mlx.prompt import Example, Shorten
from duomem_mlx.student.serve.shapes import SYSTEM_ROLES, ApiError, Message, text_of, with_memories
from duomem_mlx.student.template import Render, renderer
from duomem_mlx.student.transcript import ChatWriter, CompactWriter
from duomem_mlx.student.untrusted import control_tokens, plain, unmarked

_MARK = "\ue000"  # in a text that is rendered: here stands a spelt-out control token, of the number that follows
_MARKS = re.compile("\ue000(\\d+)\ue001")
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

    def tokens(self, messages: Sequence[Message], examples: Sequence[Example]) -> list[int]:
        """Up to where the answer begins. Raises ApiError for messages that cannot be put so."""


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

    def tokens(self, messages: Sequence[Message], examples: Sequence[Example]) -> list[int]:
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
        return cls(
            tokenizer=tokenizer,
            render=renderer(tokenizer),
            controls=_any_of(text for token, text in spelt.items() if token in control),
            turns=_any_of(text for token, text in spelt.items() if token in special),
            markers=markers,
            stop_tokens=stop_tokens,
        )

    def tokens(self, messages: Sequence[Message], examples: Sequence[Example]) -> list[int]:
        spelt = _Spelt()
        given = [self._as_given(message, spelt) for message in with_memories(messages, examples)]
        pieces = _MARKS.split(self._rendered(given))  # text, number, text, number, …, text
        tokens: list[int] = []
        for place, piece in enumerate(pieces):
            if place % 2:
                tokens += plain(self.tokenizer, spelt.found[int(piece)])
            elif piece:
                tokens += self.tokenizer.encode(piece, add_special_tokens=False)
        return tokens

    def _rendered(self, given: list[dict[str, Any]]) -> str:
        """Raises ApiError for messages that the template refuses. A system text it has no place for opens the first
        message of the user."""
        try:
            return self.render(given, True)
        except Exception as error:  # a template raises whatever its author chose
            refused = error
        if folded := _folded(given):
            try:
                return self.render(folded, True)
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
            return {key: self._marked(inner, spelt, trusted) for key, inner in value.items()}
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
