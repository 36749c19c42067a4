"""A teacher that is made to stumble: what follows a mistake is taught without a student that makes it.

The idea is DART's (Laskey et al. 2017, "DART: Noise Injection for Robust Imitation Learning"): the teacher's hand is
jogged now and then, and what it does to get back on its way is kept.
"""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from duomem_mlx.environment import Teacher

FURTHER = 5  # a number that is mistaken is too high by at most so much

_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")


class StumblingTeacher:
    """environment.Teacher that in about a `share` of its turns does something else than `teacher` would, and says so in
    `wanted`. What it does then is what a weak student does: something it did before, something whose time has not come
    (an action of `ahead`, a way through this game), or its own action with too high a number. It draws by `seed`."""

    def __init__(self, teacher: Teacher, share: float, ahead: Sequence[str], seed: int) -> None:
        self.wanted: str | None = None  # what `teacher` would have done, where it stumbled
        self._teacher = teacher
        self._share = share
        self._ahead = tuple(ahead)
        self._seed = seed
        self._random = Random(seed)
        self._done: list[str] = []

    def begin(self, task: str, opening: str) -> None:
        self.wanted = None
        self._random = Random(self._seed)
        self._done = []
        self._teacher.begin(task, opening)

    def act(self) -> str | None:
        wanted = self._teacher.act()
        self.wanted = None
        if wanted is None or self._random.random() >= self._share:
            return wanted
        slip = self._slip(wanted)
        if slip != wanted:
            self.wanted = wanted
        return slip

    def observe(self, action: str, observation: str) -> None:
        self._done.append(action)
        self._teacher.observe(action, observation)

    @property
    def thought(self) -> str | None:
        return None if self.wanted is not None else getattr(self._teacher, "thought", None)

    def __getattr__(self, name: str) -> Any:
        """What else its teacher offers."""
        return getattr(self._teacher, name)

    def _slip(self, wanted: str) -> str:
        """What is done in place of `wanted`; the same where there is no other thing to do."""
        soon = [action for action in self._ahead if action not in self._done and action != wanted]
        kinds: list[Callable[[], str]] = [lambda: self._miscounted(wanted)]
        kinds += [lambda: self._random.choice(self._done)] * 2 if self._done else []
        kinds += [lambda: self._random.choice(soon)] if soon else []
        return self._random.choice(kinds)()

    def _miscounted(self, action: str) -> str:
        return _LAST_NUMBER.sub(lambda number: str(int(number[0]) + self._random.randint(1, FURTHER)), action)
