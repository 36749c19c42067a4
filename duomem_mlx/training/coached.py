"""A game that a student begins while a teacher looks on, and that the teacher finishes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from duomem_mlx.environment import OWN_TEACHER, Environment, Game, Teacher
from duomem_mlx.guarded import guarded
from duomem_mlx.offers import WorldBroke
from duomem_mlx.student.episodes import Turn
from duomem_mlx.trajectory import Step, Trajectory

_Value = TypeVar("_Value")


class Coached:
    """An `environment.Game` for the student. Before each of its actions the teacher, who has read the same texts, says
    what it would have done. It is over for the student when the game is, when `refusals` of its actions were refused,
    when it says nothing that is an action, or when the teacher has no answer either."""

    def __init__(self, game: Game, teacher: Teacher, refused: Callable[[str], bool] | None, refusals: int) -> None:
        self.id, self.split, self.task = game.id, game.split, game.task
        self.opening = ""
        self.steps: list[Step] = []
        self.begun = 0  # steps of the student's, known once the teacher has finished
        self._game = guarded(game)
        self._teacher = teacher
        self._refused = refused
        self._refusals_left = refusals
        self._given_up = False
        self._broken = False

    def reset(self) -> str:
        self.opening = self._guarded(self._game.reset)
        self._guarded(lambda: self._teacher.begin(self.task, self.opening))
        return self.opening

    def step(self, action: str) -> str:
        wanted = None if self._given_up else self._guarded(self._teacher.act)
        if wanted is None:
            self._given_up = True
            return ""
        observation = self._do(action, None if _same(action, wanted) else wanted)
        if self._refused is not None and self._guarded(partial(self._refused, observation)):
            self._refusals_left -= 1
        return observation

    @property
    def done(self) -> bool:
        return self._game.done or self._given_up or self._refusals_left <= 0

    @property
    def won(self) -> bool:
        return self._game.won

    @property
    def score(self) -> float:
        return self._game.score

    def hear(self, turn: Turn) -> None:
        """Take in how the student came to what it last did."""
        if "no_action" in turn.flags:
            self._given_up = True  # nothing of this turn is in the steps, so no later one may be
        elif turn.reply.thought and self.steps and not self._given_up:
            self.steps[-1] = replace(self.steps[-1], thought=turn.reply.thought)

    def finish(self, most: int) -> None:
        """Let the teacher play on from where the student stands, to `most` actions in all."""
        self.begun = len(self.steps)
        while not (self._game.done or self._broken) and len(self.steps) < most:
            try:
                action = self._guarded(self._teacher.act)
                if action is None:
                    return
                self._do(action, None, self._guarded(lambda: getattr(self._teacher, "thought", None)))
            except WorldBroke:
                return

    def trajectory(self, environment: Environment, student: str, seconds: float) -> Trajectory:
        """What came of it. `teacher` says whose the first steps are."""
        end = "environment" if self._broken else "won" if self.won else "lost" if self._game.done else "steps"
        record = {"kind": "on-policy", "coach": OWN_TEACHER, "student": student, "student_steps": self.begun}
        return Trajectory(
            environment=environment.name,
            game=self.id,
            split=self.split,
            kind=self._game.kind,
            task=self.task,
            opening=self.opening,
            steps=tuple(self.steps),
            won=end == "won",
            score=self.score,
            end=end,
            teacher=record,
            seconds=round(seconds, 4),
        )

    def _do(self, action: str, wanted: str | None, thought: str | None = None) -> str:
        observation = self._guarded(lambda: self._game.step(action))
        self.steps.append(Step(action, observation, thought, wanted))
        if not self._game.done:
            self._guarded(lambda: self._teacher.observe(action, observation))
        return observation

    def _guarded(self, do: Callable[[], _Value]) -> _Value:
        try:
            return do()
        except WorldBroke as broke:
            if not self._broken:
                self.steps.append(Step("", str(broke)))
            self._broken = True
            raise


def parted(trajectory: Trajectory) -> bool:
    """Whether student and teacher ever differed in a coached game: else there is nothing to learn from it."""
    finished = len(trajectory.steps) > int(trajectory.teacher.get("student_steps", 0))
    return finished or any(step.wanted is not None for step in trajectory.steps)


def _same(action: str, wanted: str) -> bool:
    if "\n" in action or "\n" in wanted:  # where lines are indented that may say something
        return action.strip() == wanted.strip()
    return action.split() == wanted.split()
