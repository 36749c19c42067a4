"""What a client of OpenAI's kind sends and is sent."""

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duomem_mlx.prompt import Example, chat_system
from duomem_mlx.tools.calls import Message, text_of
from duomem_mlx.tools.offered import BadTools, Offered, offered_in

SYSTEM_ROLES = ("system", "developer")


class ApiError(Exception):
    """A request that gets no answer: the status, and the sentence in OpenAI's wrapping."""

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None, wait_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {} if wait_s is None else {"Retry-After": str(wait_s)}
        kind = "invalid_request_error" if 400 <= status < 500 else "server_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def gone() -> ApiError:
    """For whoever is no longer there to read it."""
    return ApiError(499, "The client has gone.")


# -- requests ------------------------------------------------------------------------------------------------


class ChatRequest(BaseModel):
    """What is honoured of a request; unknown fields are ignored, and null is as if the field were not there."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    temperature: float | None = Field(None, ge=0, le=2)  # none: greedy
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None

    @property
    def most_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> list[str]:
        found = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [text for text in found if text]

    @property
    def tells_usage(self) -> bool:
        """In a stream: with one chunk more."""
        return bool((self.stream_options or {}).get("include_usage"))


class _Message(BaseModel):
    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Conversation(BaseModel):
    messages: list[_Message] = Field(min_length=1)


def read_body(data: bytes) -> dict[str, Any]:
    """A request as it was sent, with messages in it that are such. Raises ApiError (400)."""
    try:
        body = json.loads(data, parse_constant=_no_constant)
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ApiError(400, "The body holds text that is not Unicode.") from None
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is not whole JSON in UTF-8.") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The body is no JSON object.")
    _validated(_Conversation, body)
    return body


def read_request(body: Mapping[str, Any]) -> ChatRequest:
    """What of it is honoured. Raises ApiError (400) naming the field that is off."""
    return _validated(ChatRequest, body)


def read_offered(body: Mapping[str, Any]) -> Offered | None:
    """The tools that may be called. Raises ApiError (400) naming the field that is off."""
    try:
        return offered_in(body)
    except BadTools as error:
        raise ApiError(400, error.what, param=error.field) from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_Shape = TypeVar("_Shape", bound=BaseModel)


def _validated(shape: type[_Shape], body: Mapping[str, Any]) -> _Shape:
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        worst = max(error.errors(include_url=False), key=lambda found: len(found["loc"]))
        place = [part for part in worst["loc"] if isinstance(part, int) or part.isidentifier()]
        where = ".".join(map(str, place))
        raise ApiError(400, f"{where}: {worst['msg']}.", param=where) from None


# -- messages ------------------------------------------------------------------------------------------------


def first_said(messages: Iterable[Message]) -> str:
    """The user's first message; empty without one."""
    return next((text_of(message) for message in messages if message["role"] == "user"), "")


def with_memories(messages: Sequence[Message], examples: Sequence[Example], tools: bool = False) -> list[Message]:
    """The messages with memories at the end of the system text, or as the system text where there is none. `tools`:
    they are of runs with tools, which are no games."""
    if not examples:
        return list(messages)
    first, rest = _system_and_rest(messages)
    shown = chat_system(text_of(first), examples, "another run") if tools else chat_system(text_of(first), examples)
    return [{**first, "content": shown.strip()}, *rest]


def with_system(messages: Sequence[Message], text: str) -> list[Message]:
    """The messages with more at the end of the system text."""
    first, rest = _system_and_rest(messages)
    return [{**first, "content": f"{text_of(first)}\n\n{text}".strip()}, *rest]


def _system_and_rest(messages: Sequence[Message]) -> tuple[Message, Sequence[Message]]:
    if messages[0]["role"] in SYSTEM_ROLES:
        return messages[0], messages[1:]
    return {"role": "system"}, messages


# -- answers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer."""

    prompt: int
    cached: int  # of the prompt: computed for an earlier request
    completion: int

    def record(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclass(frozen=True)
class Form:
    """What all chunks of an answer have in common."""

    model: str
    memories: Sequence[str] = ()  # ids
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, message: Mapping[str, Any], reason: str, usage: Usage) -> dict[str, Any]:
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage.record(), **told(self.memories)}

    def chunk(self, text: str, first: bool = False) -> dict[str, Any]:
        delta = {**({"role": "assistant"} if first else {}), "content": text}
        return self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])

    def calls(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A chunk for each call of the message, whole."""
        told = [{"tool_calls": [{"index": n, **call}]} for n, call in enumerate(message.get("tool_calls", ()))]
        return [self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]) for delta in told]

    def last(self, reason: str) -> dict[str, Any]:
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}
        return {**self._chunk([choice]), **told(self.memories)}

    def usage(self, usage: Usage) -> dict[str, Any]:
        return {**self._chunk([]), "usage": usage.record(), **told(self.memories)}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk"), "choices": choices}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def told(memories: Sequence[str]) -> dict[str, Any]:
    """The field of an answer, or of the last chunks of a stream, that names the memories in its prompt."""
    return {"duomem": {"memories": list(memories)}}


def event(value: Mapping[str, Any]) -> bytes:
    """One event of a stream; in ASCII, for some clients take U+2028 and its like for the end of a line."""
    return f"data: {json.dumps(value)}\n\n".encode()


DONE = b"data: [DONE]\n\n"
