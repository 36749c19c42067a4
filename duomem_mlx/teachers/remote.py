"""A model behind any endpoint of OpenAI's kind, asked for one answer at a time. The only module that knows the client.

The client's own retries are off: what went wrong is told as a Fault, and who asks decides what to do about it.
"""

import email.utils
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from duomem_mlx.errors import UsageError
from duomem_mlx.teachers.answers import Answer, Fault, read_body
from duomem_mlx.teachers.journal import Messages

LONGEST_BODY_BYTES = 16 << 20
SHORTEST_SECRET = 8  # shorter ones ("EMPTY", "x") are what keyless servers are given, and words of any text
OLD_LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
CONTEXT = "context"  # the fault of a conversation that grew too long
_TOO_LONG = (
    "context_length",
    "context length",
    "context window",
    "maximum context",
    "too many tokens",
    "prompt is too",
)
_NO_MONEY = ("insufficient_quota", "insufficient balance", "insufficient credit", "billing")


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked, and how. Holds no key."""

    base_url: str  # as far as before /chat/completions
    model: str
    max_tokens: int = 4096  # of one answer, thoughts included
    timeout_s: float = 600.0  # from the request to the end of the answer

    def __post_init__(self) -> None:
        check_address(self.base_url)


def check_address(url: str, option: str = "--base-url") -> None:
    """Raises UsageError, in words of the option that gave it, for what is no address or more than one."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{option} is no address.", "Write it like http://localhost:8080/v1.")
    if parts.username or parts.password or parts.query:
        raise UsageError(
            f"{option} holds more than an address.",
            "Put the key into an environment variable and name that with --api-key-env.",
        )


def key_from(variable: str | None, option: str = "--api-key-env") -> str | None:
    """The key in an environment variable; None without a name. Raises UsageError, in words of the option that named
    it, when it is not set or no key."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        # Not repeated: it may be the key itself that was given by mistake.
        raise UsageError(
            f"The environment variable that {option} names is not set.",
            "Put the key into a variable, such as `export MY_KEY=…`, and give the variable's name.",
        )
    if not (key.isascii() and key.isprintable()):
        raise UsageError(f"What is in the variable of {option} is no key: it holds signs that no key has.")
    return key


class RemoteModel:
    """Asks an endpoint. Safe to share between threads."""

    def __init__(self, endpoint: Endpoint, key: str | None = None) -> None:
        import openai

        self.endpoint = endpoint
        self._secret = key if key is not None and len(key) >= SHORTEST_SECRET else None
        self._limit = OLD_LIMIT
        # The client would take these from OPENAI_* of the environment, and send them to whatever endpoint this is.
        unsent = ("OpenAI-Organization", "OpenAI-Project", *(("Authorization",) if key is None else ()))
        self._headers: dict[str, Any] = {name: openai.Omit() for name in unsent}
        self._client = openai.OpenAI(
            api_key=key or "none",
            base_url=endpoint.base_url,
            timeout=endpoint.timeout_s,
            max_retries=0,
        )

    def ask(self, messages: Messages, temperature: float | None) -> Answer:
        """One answer; `temperature` None leaves it to the endpoint.

        Raises Fault: "http_STATUS", "context", "timeout", "connection", "reset" and those of `read_body`.
        """
        import openai

        started = time.monotonic()
        limit = self._limit
        words: dict[str, Any] = {"messages": [dict(message) for message in messages], limit: self.endpoint.max_tokens}
        if temperature is not None:
            words["temperature"] = temperature
        try:
            body = self._body(words, started + self.endpoint.timeout_s)
        except openai.APIStatusError as error:
            if limit == OLD_LIMIT and error.status_code == 400 and NEW_LIMIT in str(error):
                self._limit = NEW_LIMIT  # newer models of OpenAI's want it under this name
                return self.ask(messages, temperature)
            raise self._refusal(error) from None
        except openai.APITimeoutError:
            raise Fault("timeout", f"no answer within {self.endpoint.timeout_s:g} s") from None
        except openai.OpenAIError as error:
            raise Fault("connection", self._plain(str(error.__cause__ or error))) from None
        except (UnicodeError, ValueError) as error:
            raise Fault("truncated", self._plain(str(error))) from None
        characters = sum(len(message["content"]) for message in messages)
        return read_body(body, characters, time.monotonic() - started, self._plain)

    def close(self) -> None:
        self._client.close()

    def _body(self, words: Mapping[str, Any], deadline: float) -> str:
        """The text of the answer, read piece by piece: a server that drips must not hold a game up for ever."""
        create: Any = self._client.chat.completions.with_streaming_response.create
        with create(model=self.endpoint.model, extra_headers=self._headers, **words) as response:
            pieces: list[bytes] = []
            try:
                for piece in response.iter_bytes():
                    pieces.append(piece)
                    if sum(map(len, pieces)) > LONGEST_BODY_BYTES:
                        raise Fault("truncated", "the answer was longer than any answer is")
                    if time.monotonic() > deadline:
                        raise Fault("timeout", f"no whole answer within {self.endpoint.timeout_s:g} s")
            except Fault:
                raise
            except Exception as error:  # the transport's own, whichever of its two the client was built on
                kind = "timeout" if "timeout" in type(error).__name__.lower() else "reset"
                raise Fault(kind, self._plain(str(error)) or "the connection broke off") from None
        return b"".join(pieces).decode("utf-8", "replace")

    def _refusal(self, error: Any) -> Fault:
        status = int(error.status_code)
        said = self._plain(_said(error))
        words = f"{error.code or ''} {said}".lower()
        if status in (400, 413, 422) and any(sign in words for sign in _TOO_LONG):
            return Fault(CONTEXT, said, final=True)
        if status in (402, 429) and any(sign in words for sign in _NO_MONEY):
            return Fault("http_402", said, final=True)
        passing = status >= 500 or status in (408, 409, 425, 429)
        wait = retry_after_s(error.response.headers) if passing else None
        return Fault(f"http_{status}", said, retry_after_s=wait, final=not passing)

    def _plain(self, text: str) -> str:
        """A text without the key, should an endpoint repeat it."""
        return text.replace(self._secret, "[key]") if self._secret else text


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What a Retry-After header asks for, given in milliseconds, seconds or as a date; None without one."""
    try:
        if (text := headers.get("retry-after-ms")) is not None:
            return _seconds(float(text) / 1000)
        if (text := headers.get("retry-after")) is None:
            return None
        if text.strip().replace(".", "", 1).isdigit():
            return _seconds(float(text))
        until = email.utils.parsedate_to_datetime(text)
        return _seconds((until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _seconds(value: float) -> float | None:
    return max(0.0, value) if value < float("inf") else None


def _said(error: Any) -> str:
    """What an endpoint says of a refusal, on one line."""
    body = error.body
    inner = body.get("message") or body.get("detail") or body.get("error") if isinstance(body, dict) else body
    return " ".join(str(inner or error.message).split())[:300]
