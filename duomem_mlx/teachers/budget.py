"""What a run with a remote teacher may cost, and what it has cost so far."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

A_MILLION = 1e6


@dataclass(frozen=True)
class Limits:
    """How much may be spent; None: no limit."""

    price_in: float = 0.0  # money for a million tokens read
    price_out: float = 0.0  # money for a million tokens written
    max_cost: float | None = None  # money, in all calls of the same run together
    max_tokens: int | None = None  # tokens read and written, in all calls of the same run together
    max_hours: float | None = None  # of this call


@dataclass(frozen=True)
class Spent:
    """What was used up so far."""

    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    answer_seconds: float = 0.0  # waiting for answers, of all games added up


class Budget:
    """Counts what is spent and says when it is enough. Safe to share between threads.

    It is asked before every request, so what is under way when a limit is reached may still go over it.
    """

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._now = now
        self._started = now()
        self._lock = threading.Lock()
        self._spent = Spent()
        self._faults: Counter[str] = Counter()

    @property
    def spent(self) -> Spent:
        return self._spent

    @property
    def faults(self) -> dict[str, int]:
        """How often each kind of fault came."""
        with self._lock:
            return dict(sorted(self._faults.items()))

    def spend(self, tokens_in: int, tokens_out: int, seconds: float = 0.0, answers: int = 1) -> None:
        cost = (tokens_in * self.limits.price_in + tokens_out * self.limits.price_out) / A_MILLION
        with self._lock:
            before = self._spent
            self._spent = replace(
                before,
                answers=before.answers + answers,
                tokens_in=before.tokens_in + tokens_in,
                tokens_out=before.tokens_out + tokens_out,
                cost=before.cost + cost,
                answer_seconds=before.answer_seconds + seconds,
            )

    def count(self, fault: str) -> None:
        with self._lock:
            self._faults[fault] += 1

    def reached(self) -> str | None:
        """The option whose limit is reached, such as "--max-cost"; None while there is something left."""
        limits, spent = self.limits, self._spent
        if limits.max_cost is not None and spent.cost >= limits.max_cost:
            return "--max-cost"
        if limits.max_tokens is not None and spent.tokens_in + spent.tokens_out >= limits.max_tokens:
            return "--max-total-tokens"
        if limits.max_hours is not None and self._now() - self._started >= limits.max_hours * 3600:
            return "--max-hours"
        return None
