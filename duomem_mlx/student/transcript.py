"""The tokens of a conversation, written the same way for training and for play.

A writer turns each part of an episode into tokens of its own: the start, an action, an observation. Parts are
tokenized apart and only ever appended, so what was computed for a turn stays valid for all later ones. What an
environment, a memory or a task says is plain text: control tokens in it are spelt out, never obeyed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.prompt import Example, Reply, Shorten
from duomem_mlx.student.untrusted import markers_of, plain, unmarked


class Writer(Protocol):
    """Tokens of a conversation in one prompt style."""

    @property
    def style(self) -> str: ...

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Any of these ends an action."""

    def start(self, opening: str, examples: Sequence[Example]) -> list[int]:
        """Everything before the first action."""

    def action(self, action: str, thought: str | None = None) -> list[int]:
        """What the student is trained to produce, with the token that ends it."""

    def closing(self) -> list[int]:
        """The tokens that end an action which the student did not end itself."""

    def observation(self, text: str) -> list[int]:
        """From the end of an action to where the next one begins."""

    def read(self, tokens: Sequence[int]) -> Reply:
        """The action in what the student produced."""


def make_writer(tokenizer: Any, style: str, instructions: str, shorten: Shorten = prompt.unchanged) -> Writer:
    """A writer for `style` ("chat" or "compact-1") and a tokenizer of mlx-lm's kind.

    Raises UsageError for an unknown style, DuomemError where the chat template cannot be carried from turn to turn.
    """
    if style == prompt.COMPACT:
        return CompactWriter.of(tokenizer, shorten)
    if style == prompt.CHAT:
        return ChatWriter.of(tokenizer, instructions)
    raise UsageError(f"There is no prompt style {style!r}.", f"Use one of {', '.join(prompt.STYLES)}.")


def _text(tokenizer: Any, tokens: Sequence[int]) -> str:
    ends = _ends(tokenizer)
    return str(tokenizer.decode([token for token in tokens if token not in ends]))


def _ends(tokenizer: Any) -> frozenset[int]:
    return frozenset(tokenizer.eos_token_ids)


@dataclass(frozen=True)
class CompactWriter:
    """One running text with no template; a line break ends an action."""

    tokenizer: Any
    shorten: Shorten
    stop_tokens: frozenset[int]
    style: str = prompt.COMPACT

    @classmethod
    def of(cls, tokenizer: Any, shorten: Shorten) -> "CompactWriter":
        # Byte-level vocabularies spell a line break "Ċ", sentencepiece ones "\n" or "<0x0A>".
        breaks = {
            token for text, token in tokenizer.get_vocab().items() if "Ċ" in text or "\n" in text or text == "<0x0A>"
        }
        return cls(tokenizer, shorten, frozenset(breaks) | _ends(tokenizer))

    def start(self, opening: str, examples: Sequence[Example]) -> list[int]:
        return plain(self.tokenizer, prompt.compact_start(opening, examples, self.shorten))

    def action(self, action: str, thought: str | None = None) -> list[int]:
        return plain(self.tokenizer, prompt.compact_action(action))

    def closing(self) -> list[int]:
        return plain(self.tokenizer, "\n")

    def observation(self, text: str) -> list[int]:
        return plain(self.tokenizer, prompt.compact_observation(text, self.shorten))

    def read(self, tokens: Sequence[int]) -> Reply:
        return prompt.read_compact(_text(self.tokenizer, tokens))


@dataclass(frozen=True)
class ChatWriter:
    """Turns through the model's own chat template.

    The template is rendered once around markers and cut at them: what stands before the first answer, between an
    answer and the next user turn, and after that turn. Those pieces are tokenized once and never change, whatever
    the template would do to earlier turns later on.
    """

    tokenizer: Any
    instructions: str
    system: bool  # the template has a system role; else the system text opens the first user turn
    before: tuple[list[int], list[int], list[int]]  # around system text and opening, up to the first answer
    after_answer: list[int]  # the token(s) that end an answer
    between: list[int]  # from there to the next user text
    after_user: list[int]  # from the end of a user text to the next answer
    stop_tokens: frozenset[int]
    markers: tuple[str, ...] = ()  # of turns, in ordinary text
    style: str = prompt.CHAT

    @classmethod
    def of(cls, tokenizer: Any, instructions: str) -> "ChatWriter":
        pieces = _cut_template(tokenizer)
        tail = list(tokenizer.encode(pieces.between, add_special_tokens=False))
        ends = _ends(tokenizer)
        last = next((place for place, token in enumerate(tail) if token in ends), None)
        if last is None:
            raise DuomemError(
                "This model's chat template does not end an answer with the model's end token.",
                "Use --prompt-style compact-1.",
            )
        head, middle, start = (list(tokenizer.encode(text, add_special_tokens=False)) for text in pieces.before)
        return cls(
            tokenizer=tokenizer,
            instructions=instructions,
            system=pieces.system,
            before=(head, middle, start),
            after_answer=tail[: last + 1],
            between=tail[last + 1 :],
            after_user=list(tokenizer.encode(pieces.after_user, add_special_tokens=False)),
            stop_tokens=ends,
            markers=markers_of(tokenizer, (*pieces.before, pieces.between, pieces.after_user)),
        )

    def _plain(self, text: str) -> list[int]:
        return plain(self.tokenizer, unmarked(text, self.markers))

    def start(self, opening: str, examples: Sequence[Example]) -> list[int]:
        head, middle, start = self.before
        system = prompt.chat_system(self.instructions, examples)
        if not self.system:
            return head + self._plain(f"{system}\n\n{opening.strip()}") + start
        return head + self._plain(system) + middle + self._plain(opening.strip()) + start

    def action(self, action: str, thought: str | None = None) -> list[int]:
        return self._plain(prompt.chat_reply(action, thought)) + self.after_answer

    def closing(self) -> list[int]:
        return self.after_answer

    def observation(self, text: str) -> list[int]:
        return self.between + self._plain(text.strip()) + self.after_user

    def read(self, tokens: Sequence[int]) -> Reply:
        return prompt.read_chat(_text(self.tokenizer, tokens))


@dataclass(frozen=True)
class _Pieces:
    system: bool
    before: tuple[str, str, str]
    between: str
    after_user: str


_SYSTEM, _USER, _ANSWER, _NEXT, _REPLY, _LAST = (f"\ue000{name}\ue001" for name in "SUANRL")


def _cut_template(tokenizer: Any) -> _Pieces:
    """Render the template around markers and cut it. Raises DuomemError when a marker is lost or turns differ."""

    def render(messages: list[dict[str, str]], more: bool) -> str:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=more, enable_thinking=False
        )
        return str(text)

    talk = [
        {"role": "user", "content": _USER},
        {"role": "assistant", "content": _ANSWER},
        {"role": "user", "content": _NEXT},
        {"role": "assistant", "content": _REPLY},
        {"role": "user", "content": _LAST},
    ]
    system = [{"role": "system", "content": _SYSTEM}]
    try:
        whole = render([*system, *talk], more=False)
    except Exception as error:  # a template raises whatever its author chose
        if getattr(tokenizer, "chat_template", None) is None:
            raise DuomemError("This model has no chat template.", "Use --prompt-style compact-1.") from None
        try:
            whole = render(talk, more=False)
        except Exception:
            raise DuomemError(f"This model's chat template fails: {error}.", "Use --prompt-style compact-1.") from None
    has_system = _SYSTEM in whole
    opening = [*(system if has_system else []), talk[0]]
    ended, begun = render(opening, more=False), render(opening, more=True)
    answer = begun[len(ended) :]
    between = _inside(whole, _ANSWER, _NEXT)
    after_user = ended[ended.index(_USER) + len(_USER) :] + answer if _USER in ended else ""
    if (
        not begun.startswith(ended)
        or not answer
        or between is None
        or between != _inside(whole, _REPLY, _LAST)
        or _USER not in ended
    ):
        raise DuomemError(
            "This model's chat template changes earlier turns, so they cannot be kept.", "Use --prompt-style compact-1."
        )
    head, rest = begun.split(_SYSTEM, 1) if has_system else ("", begun)
    first, start = rest.split(_USER, 1)
    return _Pieces(has_system, (head, first, start) if has_system else (first, "", start), between, after_user)


def _inside(text: str, left: str, right: str) -> str | None:
    if left not in text or right not in text:
        return None
    return text[text.index(left) + len(left) : text.index(right)]
