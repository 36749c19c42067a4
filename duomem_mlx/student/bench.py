"""How quick a student is on this machine: reading, answering, whole games.

A figure is of a second call, since the first one also builds what the device needs; where a call is slow that no longer
counts, and the first one is the figure.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import mlx.core as mx

from duomem_mlx.environment import Environment
from duomem_mlx.guarded import open_game
from duomem_mlx.student import cpu
from duomem_mlx.student.agent import Agent
from duomem_mlx.student.ragged import Row, Rows, fed_by_rows

PREFILLS = (128, 512, 1024)  # tokens
BATCHES = (1, 4, 16)
CONTEXT = 128  # tokens before the answers that are timed
ANSWER = 24  # tokens
TIMES = 3  # a figure is the middle one of
SLOW = 1.5  # seconds


@dataclass(frozen=True)
class Reading:
    """Prefill: tokens of one prompt that no cache holds."""

    tokens: int
    tokens_per_second: float


@dataclass(frozen=True)
class Answering:
    """Decoding, after a context of `CONTEXT` tokens."""

    batch: int  # answers written at once
    tokens_per_second: float  # of all of them together


@dataclass(frozen=True)
class Playing:
    """Games, one after the other."""

    games: int
    won: int
    turns: int
    seconds_per_turn: float  # mean; recalling memories and the world's own time included
    seconds_per_game: float
    tokens_per_game: float  # read or written


class Speed:
    """Reading and writing of one model, fed as `episodes` feeds it."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rows = fed_by_rows(model)

    def reading(self, lengths: Iterable[int] = PREFILLS) -> Iterator[Reading]:
        """How quick it reads prompts of these lengths, one at a time."""
        for tokens in lengths:
            yield Reading(tokens, tokens / _seconds(partial(self._read, [_prompt(tokens)])))

    def answering(self, batches: Iterable[int] = BATCHES) -> Iterator[Answering]:
        """How quick it writes so many answers at once; on a CPU they are shared among threads as in play."""
        for batch in batches:
            count = cpu.lanes(batch) if self._rows else 1
            sizes = [batch // count + (number < batch % count) for number in range(count)]
            with ThreadPoolExecutor(count) as pool:
                streams = [self._stream(size) for size in sizes]
                prompts = [[_prompt(CONTEXT)] * size for size in sizes]
                last = list(pool.map(lambda stream, prompt: stream.feed(prompt), streams, prompts))
                list(pool.map(_answer, streams, last, [1] * count))
                started = time.perf_counter()
                list(pool.map(_answer, streams, last, [ANSWER] * count))
                yield Answering(batch, batch * ANSWER / (time.perf_counter() - started))

    def _read(self, prompts: Sequence[Sequence[int]]) -> None:
        self._stream(len(prompts)).feed(prompts)

    def _stream(self, width: int) -> "_Fed | _Cached":
        return _Cached(self._model) if self._rows is None else _Fed(self._rows, width)


def playing(
    agent: Agent, environment: Environment, tasks: Sequence[str], max_steps: int, over: Callable[[int], object]
) -> Playing:
    """Play games as `run` does; `over` is told how many are."""
    turns = won = tokens = 0
    started = time.perf_counter()
    for number, task in enumerate(tasks, 1):
        for turn in agent.play(open_game(environment, task), max_steps):
            turns += 1
            tokens += turn.tokens_new + turn.tokens_out
            won += turn.end == "won"
        over(number)
    seconds = time.perf_counter() - started
    return Playing(len(tasks), won, turns, seconds / turns, seconds / len(tasks), tokens / len(tasks))


class _Fed:
    """Fed by rows, as most models are."""

    def __init__(self, feeder: Rows, width: int) -> None:
        self._feeder, self._rows = feeder, [Row() for _ in range(width)]

    def feed(self, chunks: Sequence[Sequence[int]]) -> list[int]:
        """The likeliest next token after each."""
        return self._feeder.feed(self._rows, chunks)


class _Cached:
    """With mlx-lm's cache, for models of another kind; all chunks are of one length."""

    def __init__(self, model: Any) -> None:
        from mlx_lm.models.cache import make_prompt_cache

        self._model, self._cache = model, make_prompt_cache(model)

    def feed(self, chunks: Sequence[Sequence[int]]) -> list[int]:
        ids = mx.array(list(chunks))
        if ids.shape[1] > 1:  # no logits are computed but the last ones
            self._model(ids[:, :-1], cache=self._cache)
            mx.eval([cache.state for cache in self._cache])
        found: Any = mx.argmax(self._model(ids[:, -1:], cache=self._cache)[:, -1], axis=-1).tolist()
        return list(found)


def _answer(stream: _Fed | _Cached, last: list[int], tokens: int) -> None:
    for _ in range(tokens):
        last = stream.feed([[token] for token in last])


def _prompt(tokens: int) -> list[int]:
    return [3 + i % 200 for i in range(tokens)]  # every vocabulary has these


def _seconds(call: Callable[[], object]) -> float:
    taken: list[float] = []
    while len(taken) <= TIMES:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
        if taken[0] > SLOW:
            return taken[0]
    return median(taken[1:])
