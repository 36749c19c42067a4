"""The one thread that owns the model and its tokenizer, and answers many requests together.

A request that is taken up has a cache, tokens the model has not seen yet, and a voice. What is new of all of them goes
through the model in one pass. Between passes others come, and those leave who are done or whose client has gone.
"""

import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import mlx.core as mx

from duomem_mlx.prompt import Example
from duomem_mlx.student.answering import share
from duomem_mlx.student.cpu import quick
from duomem_mlx.student.feeding import Feeder
from duomem_mlx.student.serve.drawing import Draw, next_tokens
from duomem_mlx.student.serve.kept import Kept
from duomem_mlx.student.serve.limits import Limits
from duomem_mlx.student.serve.prompts import Prompts
from duomem_mlx.student.serve.shapes import ApiError, ChatRequest, Usage, gone
from duomem_mlx.student.serve.voice import Voice
from duomem_mlx.tools.calls import Message, text_of
from duomem_mlx.tools.offered import Offered

PASS_TOKENS = 512  # between two looks at who came and who went
_SEEDS = 1 << 63


@dataclass(frozen=True)
class Begun:
    """The messages are tokens now, and are about to be read."""

    prompt_tokens: int


@dataclass(frozen=True)
class Said:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The answer is whole."""

    reason: str  # "stop", or "length" where it was cut
    usage: Usage


@dataclass(frozen=True)
class Failed:
    """There will be no (whole) answer."""

    error: ApiError


Event = Begun | Said | Ended | Failed


@dataclass(eq=False)
class Job:
    """A request on its way. `tell` is called in the worker's thread with every event; the last is Ended or Failed."""

    messages: Sequence[Message]
    request: ChatRequest
    examples: Sequence[Example]
    offered: Offered | None
    tell: Callable[[Event], object]
    gone: bool = False  # nobody waits for it any more


@dataclass(eq=False)
class _Seat:
    """A job in the making."""

    job: Job
    prompt: int  # tokens
    cached: int  # of them
    cache: list[Any]
    held: list[int]  # tokens the cache holds
    pending: list[int]  # tokens the model has not seen yet
    most: int  # tokens of the answer
    voice: Voice
    draw: Draw | None
    opening: str = ""  # of the answer, said already
    said: int = 0  # tokens of the answer so far


@dataclass
class Worker:
    """Answers jobs. Safe to call from several threads."""

    tokenizer: Any
    prompts: Prompts
    feeder: Feeder
    limits: Limits
    passes: int = 0  # through the model, so far

    _jobs: "SimpleQueue[Job | None]" = field(default_factory=SimpleQueue)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: int = 0  # jobs that were taken and have not had their last event
    _closing: bool = False

    def __post_init__(self) -> None:
        self.kept = Kept(self.limits.kept, self.limits.kept_bytes)
        self._widest = max(map(len, self.tokenizer.get_vocab()))  # characters of a token
        self._thread = threading.Thread(target=self._run, name="student", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    @property
    def busy(self) -> int:
        """Jobs that are computed or wait."""
        return self._open

    def submit(self, job: Job) -> None:
        """Raises ApiError: 429 when too many are waiting, 503 when no more are taken."""
        with self._lock:
            if not self.alive:
                raise _closed()
            if self._open >= self.limits.parallel + self.limits.waiting:
                raise ApiError(
                    429,
                    f"{self.limits.parallel} requests are being answered and {self.limits.waiting} wait. Try again "
                    "later.",
                    code="rate_limit_exceeded",
                    wait_s=1,
                )
            self._open += 1
            self._jobs.put(job)

    def close(self) -> None:
        """Answer nobody any more: whoever waits is told so. Returns when the thread has ended."""
        with self._lock:
            self._closing = True
            self._jobs.put(None)
        self._thread.join()

    # -- in the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        seats: list[_Seat] = []
        spare = mx.set_cache_limit(0)
        mx.set_cache_limit(min(spare, self.limits.spare_bytes))
        try:
            while not self._closing:
                self._round(seats)
        finally:
            for seat in seats:
                self._end(seat.job, Failed(_closed()))
            with self._lock:  # no job comes after the last one
                self._closing = True
            while (job := self._next(wait=False)) is not None:
                self._end(job, Failed(_closed()))
            mx.set_cache_limit(spare)

    def _round(self, seats: list[_Seat]) -> None:
        seats[:] = [seat for seat in seats if not self._left(seat)]
        while len(seats) < self.limits.parallel and (job := self._next(wait=not seats)) is not None:
            if (seat := self._sit_down(job)) is not None:
                seats.append(seat)
        if seats and not self._closing:
            with quick():
                self._pass(seats)

    def _next(self, wait: bool) -> Job | None:
        with suppress(Empty):
            while (job := self._jobs.get(wait)) is None and not wait:
                pass
            return job
        return None

    def _end(self, job: Job, event: Event) -> None:
        with self._lock:
            self._open -= 1
        job.tell(event)

    def _left(self, seat: _Seat) -> bool:
        if seat.job.gone:
            self.kept.keep(seat.held, seat.cache)
            self._end(seat.job, Failed(gone()))
        return seat.job.gone

    def _sit_down(self, job: Job) -> _Seat | None:
        try:
            if job.gone:
                raise gone()
            seat = self._seat(job)
        except ApiError as error:
            self._end(job, Failed(error))
        except Exception as error:  # a tokenizer may raise anything; the others must go on
            self._end(job, Failed(_broken(error)))
        else:
            job.tell(Begun(seat.prompt))
            if seat.opening:
                job.tell(Said(seat.opening))
            return seat
        return None

    def _seat(self, job: Job) -> _Seat:
        asked = job.request
        characters = sum(len(text_of(message)) for message in job.messages)
        if characters > self.limits.context_tokens * self._widest:  # everybody would wait while it is tokenized
            raise self._too_long(f"{characters} characters")
        tokens = self.prompts.tokens(job.messages, job.examples, job.offered)
        opening = self.prompts.opening(job.messages, job.offered)
        room = self.limits.context_tokens - len(tokens)
        if room <= len(opening):
            raise self._too_long(f"{len(tokens)} tokens")
        cache, cached = self.kept.find(tokens)
        draw = None
        if asked.temperature:
            seed = secrets.randbelow(_SEEDS) if asked.seed is None else asked.seed % _SEEDS
            draw = Draw(asked.temperature, asked.top_p, seed)
        voice = Voice(self.tokenizer, (*self.prompts.stop_texts, *asked.stops), self.prompts.lead)
        return _Seat(
            job=job,
            prompt=len(tokens),
            cached=cached,
            cache=cache or self.feeder.fresh(),
            held=tokens[:cached],
            pending=tokens[cached:] + opening,
            most=min(asked.most_tokens or self.limits.answer_tokens, room),
            voice=voice,
            draw=draw,
            opening="".join(voice.add(token) for token in opening),
            said=len(opening),
        )

    def _too_long(self, what: str) -> ApiError:
        said = f"The messages are {what}, and the context holds {self.limits.context_tokens} tokens with the answer."
        return ApiError(400, said, code="context_length_exceeded", param="messages")

    def _pass(self, seats: list[_Seat]) -> None:
        """One pass of the model; whoever is done with it has left `seats`."""
        fed, chunks = share(seats, PASS_TOKENS)
        speaking = [len(chunk) == len(seat.pending) for seat, chunk in zip(fed, chunks, strict=True)]
        self.passes += 1
        try:
            logits = self.feeder.logits([seat.cache for seat in fed], chunks)
            tokens = next_tokens(logits, [s.draw if now else None for s, now in zip(fed, speaking, strict=True)])
        except Exception as error:  # out of memory, say: what the caches hold now is not known
            for seat in fed:
                seats.remove(seat)
                self._end(seat.job, Failed(_broken(error)))
            return
        for seat, chunk, token, now in zip(fed, chunks, tokens, speaking, strict=True):
            seat.held += chunk
            seat.pending = [token] if now else seat.pending[len(chunk) :]
            if now and (last := self._speak(seat, token)) is not None:
                seats.remove(seat)
                self.kept.keep(seat.held, seat.cache)
                self._end(seat.job, last)

    def _speak(self, seat: _Seat, token: int) -> Event | None:
        """Tell what one token adds to the answer; the last event where it ends it."""
        seat.said += 1
        try:
            ends = token in self.prompts.stop_tokens
            text = "" if ends else seat.voice.add(token)
            full = seat.said >= seat.most
            if (ends or full) and not seat.voice.stopped:
                text += seat.voice.end()
        except Exception as error:  # a tokenizer may raise anything; the others must go on
            return Failed(_broken(error))
        if text:
            seat.job.tell(Said(text))
        if not (ends or full or seat.voice.stopped):
            return None
        reason = "stop" if ends or seat.voice.stopped else "length"
        return Ended(reason, Usage(seat.prompt, seat.cached, seat.said))


def _closed() -> ApiError:
    return ApiError(503, "The server is closing.", wait_s=5)


def _broken(error: Exception) -> ApiError:
    said = " ".join(str(error).split())[:300]
    return ApiError(500, f"The answer broke off: {type(error).__name__}{f' ({said})' if said else ''}.")
