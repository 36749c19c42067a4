"""A remote model as a teacher: what it is told, and what it says to that."""

from dataclasses import dataclass

from duomem_mlx.prompt import chat_reply, chat_system
from duomem_mlx.teachers.answers import reply_in
from duomem_mlx.teachers.asking import Asker, GivenUp
from duomem_mlx.teachers.journal import Place

NO_ACTION = 'There was no action in that answer. End your answer with one line "Action: " and one action.'
MOST_WITHOUT_ACTION = 3  # such answers in a row; then it gives up


@dataclass(frozen=True)
class Manner:
    """How a remote teacher is asked."""

    temperatures: tuple[float | None, ...] = (0.0, 0.7)  # of each attempt; the last one of all that follow
    keep_thoughts: bool = False  # a thinking model's thoughts go into Step.thought, before what it says aloud

    def temperature(self, attempt: int) -> float | None:
        """Of the attempt-th attempt at a game, from 1."""
        return self.temperatures[min(attempt, len(self.temperatures)) - 1]


class RemoteTeacher:
    """environment.Teacher for one attempt at one game.

    The conversation is `chat`'s: instructions, the opening, then answers and observations in turn. Of its own answers
    the model is shown what it said and did, not what it thought, and nothing that ran on after the action.
    """

    def __init__(self, asker: Asker, manner: Manner, instructions: str, game: str, attempt: int) -> None:
        self.thought: str | None = None  # that went with the last action
        self.tokens = {"in": 0, "out": 0}
        self.gave_up_for = "lost"
        self.replayed_seconds = 0.0  # that answers out of the journal took when they were given
        self._asker = asker
        self._manner = manner
        self._temperature = manner.temperature(attempt)
        self._instructions = instructions
        self._game, self._attempt, self._turn = game, attempt, 0
        self._messages: list[dict[str, str]] = []

    def begin(self, task: str, opening: str) -> None:
        self._messages = [_message("system", chat_system(self._instructions, ())), _message("user", opening.strip())]

    def act(self) -> str | None:
        """The next action; None after three answers without one, or when the endpoint refuses to go on."""
        for _ in range(MOST_WITHOUT_ACTION):
            place = Place(self._game, self._attempt, self._turn)
            try:
                answer, replayed = self._asker.answer(place, self._messages, self._temperature)
            except GivenUp as given_up:
                self.gave_up_for = given_up.end
                return None
            self._turn += 1
            self.tokens["in"] += answer.tokens_in
            self.tokens["out"] += answer.tokens_out
            self.replayed_seconds += answer.seconds if replayed else 0.0
            reply = reply_in(answer)
            if reply.action is not None:
                kept = answer.reasoning if self._manner.keep_thoughts else None
                self.thought = "\n".join(part for part in (kept, reply.thought) if part) or None
                self._messages.append(_message("assistant", chat_reply(reply.action, reply.thought)))
                return reply.action
            self._messages.append(_message("assistant", answer.text or "(nothing)"))
            self._messages.append(_message("user", NO_ACTION))
        return None

    def observe(self, action: str, observation: str) -> None:
        self._messages.append(_message("user", observation.strip() or "(nothing)"))


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
