"""Asking a remote model until it answers: out of the journal, within the budget, through all that can go wrong."""

import threading
from typing import Protocol

from duomem_mlx.errors import DuomemError
from duomem_mlx.teachers.answers import Answer, Fault
from duomem_mlx.teachers.budget import Budget
from duomem_mlx.teachers.journal import Journal, Messages, Place
from duomem_mlx.teachers.waiting import Waiting

_ENDS = {"context": "context"}  # a fault that is the game's own -> why the attempt ended; any other: "environment"


class Model(Protocol):
    """What answers, or raises Fault."""

    def ask(self, messages: Messages, temperature: float | None) -> Answer: ...


class Stopped(Exception):
    """Nothing more is asked for: the budget is used up, or the run is to end."""


class GivenUp(Exception):
    """This one request cannot be answered, others can. `end`: one of trajectory.ENDS."""

    def __init__(self, end: str) -> None:
        super().__init__(end)
        self.end = end


class Asker:
    """What all games of a run share. Safe to share between threads."""

    def __init__(self, model: Model, journal: Journal, budget: Budget, waiting: Waiting) -> None:
        self.model = model
        self.journal = journal
        self.budget = budget
        self.waiting = waiting
        self.reached: str | None = None  # the option whose limit ended the run
        self.last_fault = ""  # its kind
        self._asking = 0
        self._lock = threading.Lock()

    @property
    def under_way(self) -> int:
        """Requests that wait for their answer now."""
        return self._asking

    def answer(self, place: Place, messages: Messages, temperature: float | None) -> tuple[Answer, bool]:
        """The answer, and whether it was in the journal. A new one is on disk before it is handed out.

        Raises Stopped; GivenUp when the endpoint answers others and not this; DuomemError when it answers nobody, or
        never will (a wrong key, an unknown model, no money left).
        """
        if (found := self.journal.find(place, messages)) is not None:
            return found, True
        first_asked, faults = self.waiting.clock.now(), 0
        while True:
            self.waiting.hold()
            self._check()
            try:
                answer = self._ask(messages, temperature)
            except Fault as fault:
                faults += 1
                self.last_fault = fault.kind
                self.journal.add_fault(place, fault.kind, fault.tokens_in, fault.tokens_out)
                self._judge(fault, first_asked)
                self.waiting.after_fault(faults, fault.retry_after_s)
            else:
                self.waiting.answered()
                self.journal.add(place, messages, answer)
                return answer, False

    def _check(self) -> None:
        if self.waiting.clock.stopped.is_set():
            raise Stopped
        if reached := self.budget.reached():
            self.reached = reached
            raise Stopped

    def _ask(self, messages: Messages, temperature: float | None) -> Answer:
        with self._lock:
            self._asking += 1
        try:
            return self.model.ask(messages, temperature)
        finally:
            with self._lock:
                self._asking -= 1

    def _judge(self, fault: Fault, first_asked: float) -> None:
        """Return when asking again is of use."""
        known = self.waiting.ever_answered or self.budget.spent.answers > 0
        if fault.kind in ("http_401", "http_403"):
            raise DuomemError(
                f"The endpoint does not take the key ({fault}).", "Check what is in the variable of --api-key-env."
            )
        if fault.kind == "http_402":
            raise DuomemError(f"The endpoint wants money ({fault}).", "Pay, and call again: no answer is lost.")
        if fault.kind == "http_404" and known:
            pass  # a gateway says so while what is behind it is away
        elif fault.final:
            if known or fault.kind in _ENDS:
                raise GivenUp(_ENDS.get(fault.kind, "environment"))
            raise DuomemError(
                f"The endpoint refuses what it is asked ({fault.kind}: {fault}).",
                "Add --temp none." if "temperature" in str(fault).lower() else "Check --base-url and --model.",
            )
        if (fault.retry_after_s or 0.0) > self.waiting.policy.longest_asked_s:
            raise DuomemError(
                f"The endpoint asks for {fault.retry_after_s:.0f} s of quiet ({fault.kind}: {fault}).",
                "Call again then: no answer is lost.",
            )
        if self.waiting.out_of_patience(first_asked, known):
            if known and not self.waiting.silent_since(first_asked):
                raise GivenUp("environment")
            raise DuomemError(
                f"The endpoint does not answer ({fault.kind}: {fault}).",
                "Call again when it is back: no answer is lost."
                if known
                else "Check --base-url, and that it is running.",
            )
