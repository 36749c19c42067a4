"""How long to wait before asking again, and for how long an endpoint may be away."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class WaitPolicy:
    """All in seconds."""

    first_s: float = 1.0  # after the first fault; doubled with every further one
    longest_s: float = 60.0
    longest_asked_s: float = 900.0  # a longer Retry-After is not waited for
    patience_s: float = 900.0  # without one answer; then the endpoint counts as gone
    first_patience_s: float = 120.0  # the same as long as there never was one: then it is likelier a wrong address


class Clock:
    """Time, and waiting that can be broken off."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait, or until somebody calls `stop`."""
        self.stopped.wait(seconds)

    def stop(self) -> None:
        self.stopped.set()


class Waiting:
    """What all games of a run know together of their endpoint: until when it wants to be left alone, and when it last
    answered. Safe to share between threads."""

    def __init__(
        self, policy: WaitPolicy | None = None, clock: Clock | None = None, chance: Callable[[], float] = random.random
    ) -> None:
        """`chance`: numbers from 0 to 1, so that games which failed together do not all come back together."""
        self.policy = policy or WaitPolicy()
        self.clock = clock or Clock()
        self._chance = chance
        self._lock = threading.Lock()
        self._hold_until = float("-inf")
        self._answered: float | None = None

    @property
    def ever_answered(self) -> bool:
        return self._answered is not None

    def hold(self) -> None:
        """Wait until the endpoint may be asked again."""
        while not self.clock.stopped.is_set() and (left := self._hold_until - self.clock.now()) > 0:
            self.clock.sleep(left)

    def answered(self) -> None:
        self._answered = self.clock.now()

    def silent_since(self, asked: float) -> bool:
        """Whether nobody had an answer since `asked`, seconds of the clock."""
        return self._answered is None or self._answered <= asked

    def out_of_patience(self, asked: float, known: bool) -> bool:
        """Whether a request first made at `asked` is to be given up. `known`: the endpoint did answer once."""
        most = self.policy.patience_s if known else self.policy.first_patience_s
        return self.clock.now() - asked >= most

    def after_fault(self, faults: int, retry_after_s: float | None) -> None:
        """Wait after the `faults`-th fault in a row of one request; a Retry-After holds back all others too."""
        if retry_after_s is not None:
            with self._lock:
                self._hold_until = max(self._hold_until, self.clock.now() + retry_after_s)
            self.hold()
            self.clock.sleep(self.policy.first_s * self._chance())
            return
        longest = min(self.policy.longest_s, self.policy.first_s * 2.0 ** min(faults - 1, 30))
        self.clock.sleep(longest * (0.5 + 0.5 * self._chance()))
