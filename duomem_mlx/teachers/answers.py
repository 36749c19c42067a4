"""What comes back from an endpoint of OpenAI's kind: an answer, or one of the faults that such endpoints have."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from duomem_mlx.prompt import Reply, read_chat

CUT = "length"  # the finish reason of an answer that ran into the limit of its tokens

_THINKING = re.compile(r"<(?P<tag>think|thinking|reasoning)>(?P<thoughts>.*?)(?:</(?P=tag)>|\Z)", re.DOTALL)
_ONLY_THE_END = re.compile(r"\A(?P<thoughts>.*?)</(?:think|thinking|reasoning)>", re.DOTALL)
_BOLD = re.compile(r"\*\*(?P<word>action|thought)(?::\*\*|\*\*:)", re.IGNORECASE)
_MOST_TOKENS = 10**9  # no answer took more; sums stay numbers that can be reckoned with
CHARACTERS_A_TOKEN = 4  # where an endpoint does not say how many tokens it took; about right for English


@dataclass(frozen=True)
class Answer:
    """What a model said: `text` without its thoughts, which stand in `reasoning`."""

    text: str
    reasoning: str | None
    cut: bool  # it ran into the limit of tokens
    tokens_in: int
    tokens_out: int
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out


class Fault(Exception):
    """A request that brought no answer. `str()` is for a person and holds no key."""

    def __init__(
        self,
        kind: str,
        what: str = "",
        retry_after_s: float | None = None,
        final: bool = False,
        tokens_in: int = 0,
        tokens_out: int = 0,
    ) -> None:
        """`kind`: the name under which it is counted. `final`: asking the same again is of no use. `tokens_in` and
        `tokens_out`: what the endpoint said it took all the same."""
        super().__init__(what or kind)
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.final = final
        self.tokens_in = tokens_in
        self.tokens_out = tokens_out


def read_body(
    body: str, prompt_characters: int, seconds: float = 0.0, clean: Callable[[str], str] = lambda text: text
) -> Answer:
    """The answer in the body of a chat completion. `prompt_characters`: of all messages, for endpoints that do not
    count tokens. `clean`: goes over every text of it, once that is read and no escape can hide anything.

    Raises Fault: "truncated" for what is no whole JSON object, "empty" where there is no choice with a message in it.
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        raise Fault("truncated", "the answer was not whole JSON") from None
    if not isinstance(record, dict):
        raise Fault("truncated", "the answer was no JSON object")
    usage = record.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    message = _message(record)
    if message is None:
        taken_in, taken_out = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        if isinstance(error := record.get("error"), dict):  # some gateways put a failure into a success
            raise Fault(
                "empty", clean(str(error.get("message")))[:300], tokens_in=taken_in or 0, tokens_out=taken_out or 0
            )
        raise Fault("empty", "there was no choice in the answer", tokens_in=taken_in or 0, tokens_out=taken_out or 0)
    text, inside = split_thinking(clean(_text_of(message.get("content"))))
    beside = next(
        (found for name in ("reasoning_content", "reasoning") if (found := clean(_text_of(message.get(name))))), ""
    )
    reasoning = "\n".join(part for part in (beside.strip(), inside) if part)
    return Answer(
        text=text,
        reasoning=reasoning or None,
        cut=record["choices"][0].get("finish_reason") == CUT,
        tokens_in=_or_guess(_count(usage.get("prompt_tokens")), prompt_characters),
        tokens_out=_or_guess(_count(usage.get("completion_tokens")), len(text) + len(reasoning)),
        seconds=round(seconds, 4),
    )


def reply_in(answer: Answer) -> Reply:
    """The action in an answer, as `prompt.read_chat` finds it; the words may be set in bold, and the action as code.

    In an answer that was cut the last line is not whole, so an action that ends with it is none.
    """
    text = _BOLD.sub(lambda found: f"{found['word']}:", answer.text)
    reply = read_chat(text.rpartition("\n")[0] if answer.cut else text)
    if reply.action is None:
        return Reply(None, answer.text or None)
    action = reply.action if "\n" in reply.action else reply.action.strip("`* \t")
    return Reply(action or None, reply.thought)


def split_thinking(text: str) -> tuple[str, str]:
    """(what was said, what was thought) of a text that may hold `<think>…</think>`. Thoughts that never end are
    thoughts to the end of the text; some templates put the opening tag into the prompt, so that only `</think>` is
    left in the answer."""
    thoughts = [found["thoughts"].strip() for found in _THINKING.finditer(text)]
    said = _THINKING.sub("", text)
    if found := _ONLY_THE_END.match(said):
        thoughts.append(found["thoughts"].strip())
        said = said[found.end() :]
    return said.strip(), "\n".join(thought for thought in thoughts if thought)


def _message(record: dict[str, Any]) -> dict[str, Any] | None:
    choices = record.get("choices")
    if not (isinstance(choices, list) and choices and isinstance(choices[0], dict)):
        return None
    message = choices[0].get("message")
    return message if isinstance(message, dict) else None


def _text_of(content: Any) -> str:
    """The text of a content: itself, or the texts of its parts."""
    if isinstance(content, list):
        return "".join(_text_of(part.get("text")) for part in content if isinstance(part, dict))
    # Half of a surrogate pair is valid JSON and no text that could be written to a file.
    return content.encode("utf-8", "replace").decode("utf-8") if isinstance(content, str) else ""


def _count(value: Any) -> int | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return int(value) if number else None


def _or_guess(tokens: int | None, characters: int) -> int:
    return -(-characters // CHARACTERS_A_TOKEN) if tokens is None else tokens
