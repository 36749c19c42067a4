"""How the student's next token is chosen, where it is not simply the most likely one.

Every aid is off by default, works from what a person could read on the screen (but for `admissible`, which says so),
and is named in the results.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np

from duomem_mlx.errors import UsageError

FREE, GRAMMAR, ADMISSIBLE = "free", "grammar", "admissible"
ACTIONS = (FREE, GRAMMAR, ADMISSIBLE)
COLDEST = 1e-6  # a temperature; a float32 divided by less is infinite or nothing
MOST_TRIES = 3  # other answers in the place of one that was just refused


@dataclass(frozen=True)
class Decoding:
    """What is done besides taking the most likely token."""

    temp: float = 0.0  # 0: greedy
    top_p: float = 1.0  # sampled from the most likely tokens that hold this share
    seed: int = 0  # of sampling
    avoid_refused: bool = False  # an action refused since the last one that was not is not said again unchanged
    actions: str = FREE  # "grammar": commands over names seen so far; "admissible": what the world would accept

    def __post_init__(self) -> None:
        """Raises UsageError for what makes no sense."""
        if not 0 <= self.temp < math.inf:
            raise UsageError(f"--temp is {self.temp:g}.", "It must be 0 (greedy) or more.")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"--top-p is {self.top_p:g}.", "It must be above 0 and at most 1.")
        if self.actions not in ACTIONS:
            raise UsageError(f"--actions is {self.actions!r}.", f"Use one of {', '.join(ACTIONS)}.")

    @property
    def plain(self) -> bool:
        """Whether the most likely token is all there is to it."""
        return self.temp == 0 and not self.avoid_refused and self.actions == FREE

    @property
    def guided(self) -> bool:
        """Whether a game's own state has a say."""
        return self.avoid_refused or self.actions != FREE


GREEDY = Decoding()


@dataclass(eq=False)
class Choice:
    """The choosing of one answer's tokens."""

    decoding: Decoding
    place: tuple[int, int]  # game and turn, for the randomness
    allowed: Sequence[Sequence[int]] | None = None  # whole answers, with the token that ends them; None: all
    refused: Callable[[Sequence[int]], bool] = lambda answer: False  # whether a whole answer was refused just now
    margins: list[tuple[float, int]] = field(default_factory=list)  # by position: best less second best, the second
    tries: int = 0

    def next(self, answer: Sequence[int], logits: mx.array) -> int:
        """The token after `answer`, from its logits [vocabulary]."""
        if self.allowed is not None:
            at = len(answer)
            left = sorted({one[at] for one in self.allowed if len(one) > at and list(one[:at]) == list(answer)})
            return left[self._pick(logits[mx.array(left)], at)] if left else _most_likely(logits)
        return self._pick(logits, len(answer))

    def instead(self, answer: Sequence[int]) -> list[int] | None:
        """Where a whole answer was refused just now: how another one begins, changed where the student was least sure;
        None where it may stand, or nothing else was found."""
        if self.allowed is not None or self.tries == MOST_TRIES or not self.margins or not self.refused(answer):
            return None
        self.tries += 1
        at = min(range(len(answer)), key=lambda place: self.margins[place][0])
        begun = [*answer[:at], self.margins[at][1]]
        self.margins[at:] = [(math.inf, 0)]
        return begun

    def _pick(self, logits: mx.array, at: int) -> int:
        logits = logits.astype(mx.float32)
        if self.decoding.temp > 0:
            key = mx.random.key(int(np.random.SeedSequence([self.decoding.seed, *self.place, at]).generate_state(1)[0]))
            scores = cooled(_nucleus(logits, self.decoding), self.decoding.temp)
            drawn: Any = mx.random.categorical(scores, key=key).item()
            chosen = int(drawn)
        else:
            chosen = _most_likely(logits)
        if self.decoding.avoid_refused and self.allowed is None:
            others = mx.where(mx.arange(logits.size) == chosen, -mx.inf, logits)
            second = _most_likely(others)
            margin: Any = (logits[chosen] - logits[second]).item()
            self.margins.append((float(margin), second))
        return chosen


def cooled(scores: mx.array, temp: float) -> mx.array:
    """Scores [vocabulary] over a temperature above 0; however small it is, the best one stays."""
    return (scores - scores.max()) / max(temp, COLDEST)


def _most_likely(logits: mx.array) -> int:
    token: Any = mx.argmax(logits).item()
    return int(token)


def _nucleus(logits: mx.array, decoding: Decoding) -> mx.array:
    if decoding.top_p == 1:
        return logits
    from mlx_lm.sample_utils import apply_top_p

    found: Any = apply_top_p((logits - mx.logsumexp(logits))[None], decoding.top_p)
    kept: mx.array = found[0]
    return kept
