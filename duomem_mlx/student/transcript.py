"""The tokens of a conversation, written the same way for training and for play.

A writer turns each part of an episode into tokens of its own: the start, an action, an observation. Parts are
tokenized apart and only ever appended, so what was computed for a turn stays valid for all later ones. What an
environment, a memory or a task says is plain text: control tokens in it are spelt out, never obeyed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.prompt import Example, Reply, Shorten
from duomem_mlx.student.fitting import Fit
from duomem_mlx.student.template import FIX, cut_template
from duomem_mlx.student.untrusted import control_tokens, markers_of, plain, unmarked


class Writer(Protocol):
    """Tokens of a conversation in one prompt style."""

    @property
    def style(self) -> str: ...

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Any of these ends an action."""

    @property
    def note(self) -> str | None:
        """What a person should know of this style with this model."""

    @property
    def cuts(self) -> Callable[[str], bool]:
        """Whether of an opening or an observation something is left out."""

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
    """A writer for `style` ("chat" or "compact-1") and a tokenizer of mlx-lm's kind. A long opening or observation is
    cut from its middle, as `fitting.Fit` does.

    Raises UsageError for an unknown style, DuomemError where the chat template cannot be carried from turn to turn.
    """
    if style == prompt.COMPACT:
        fit = Fit(tokenizer, shorten)
        return replace(CompactWriter.of(tokenizer, fit), cuts=fit.cuts)
    if style == prompt.CHAT:
        fit = Fit(tokenizer, prompt.unchanged)
        return replace(ChatWriter.of(tokenizer, instructions), fit=fit, cuts=fit.cuts)
    raise UsageError(f"There is no prompt style {style!r}.", f"Use one of {', '.join(prompt.STYLES)}.")


def _text(tokenizer: Any, tokens: Sequence[int], ends: frozenset[int]) -> str:
    return str(tokenizer.decode([token for token in tokens if token not in ends]))


def _ends(tokenizer: Any) -> frozenset[int]:
    return frozenset(tokenizer.eos_token_ids)


def _whole(text: str) -> bool:
    return False


@dataclass(frozen=True)
class CompactWriter:
    """One running text with no template; a line break ends an action."""

    tokenizer: Any
    shorten: Shorten
    stop_tokens: frozenset[int]
    note: str | None = None
    cuts: Callable[[str], bool] = _whole
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
        return prompt.read_compact(_text(self.tokenizer, tokens, _ends(self.tokenizer)))


@dataclass(frozen=True)
class ChatWriter:
    """Turns through the model's own chat template, cut into pieces that are tokenized once and never change, whatever
    the template would do to earlier turns later on (see `template`)."""

    tokenizer: Any
    instructions: str
    system: bool  # the template has a system role; else the system text opens the first user turn
    before: tuple[list[int], list[int], list[int]]  # around system text and opening, up to the first answer
    after_answer: list[int]  # the token(s) that end an answer
    between: list[int]  # from there to the next user text
    after_user: list[int]  # from the end of a user text to the next answer
    stop_tokens: frozenset[int]
    markers: tuple[str, ...] = ()  # of turns, in ordinary text
    note: str | None = None
    fit: Shorten = prompt.unchanged
    cuts: Callable[[str], bool] = _whole
    style: str = prompt.CHAT

    @classmethod
    def of(cls, tokenizer: Any, instructions: str) -> "ChatWriter":
        pieces = cut_template(tokenizer)

        def tokens(text: str) -> list[int]:
            return list(tokenizer.encode(text, add_special_tokens=False))

        tail, ends = tokens(pieces.between), _ends(tokenizer)
        control = ends if ends.intersection(tail) else control_tokens(tokenizer)
        last = next((place for place, token in enumerate(tail) if token in control), None)
        if last is None:
            raise DuomemError("This model's chat template does not end an answer with a control token.", FIX)
        return cls(
            tokenizer=tokenizer,
            instructions=instructions,
            system=pieces.system,
            before=(tokens(pieces.head), tokens(pieces.middle), tokens(pieces.opens)),
            after_answer=tail[: last + 1],
            between=tail[last + 1 :],
            after_user=tokens(pieces.opens),
            stop_tokens=ends | {tail[last]},
            markers=markers_of(tokenizer, (pieces.head, pieces.middle, pieces.opens, pieces.between)),
            note=_KEPT if pieces.dropped else None,
        )

    def _plain(self, text: str) -> list[int]:
        return plain(self.tokenizer, unmarked(text, self.markers))

    def start(self, opening: str, examples: Sequence[Example]) -> list[int]:
        opening = self.fit(opening)
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
        return self.between + self._plain(self.fit(text).strip()) + self.after_user

    def read(self, tokens: Sequence[int]) -> Reply:
        return prompt.read_chat(_text(self.tokenizer, tokens, self.stop_tokens))


_KEPT = (
    "This model's chat template takes from earlier answers what it opens a new one with, such as an empty thought; "
    "here it stays, in training and in play alike, and what was computed stays valid."
)
