"""The student's turn loop: many games together, every token computed once.

Each game keeps its history as token ids and one cache. A round prefills what is new in every game (an observation,
or the start of a game that joins), then all answers are generated together; games leave as they finish and others
take their place at the next round.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from duomem_mlx.environment import Game
from duomem_mlx.errors import DuomemError
from duomem_mlx.prompt import CHAT, COMPACT, Example, Reply
from duomem_mlx.student.transcript import Writer

NO_ACTION = "There was no action in that answer."
ANSWER_TOKENS = {COMPACT: 32, CHAT: 128}  # a line that is an action; a thought and an action


@dataclass(frozen=True)
class PlaySettings:
    """How games are played."""

    max_steps: int = 30  # actions a game
    max_tokens: int | None = None  # tokens an answer; None: the style's own, see `answer_tokens`
    max_context_tokens: int = 8192  # a longer history ends the game; less where the model holds less
    width: int = 16  # games played together


@dataclass(frozen=True)
class Entry:
    """A game that waits to be played, with the memories its prompt shows."""

    key: str
    game: Game
    examples: Sequence[Example] = ()


@dataclass(frozen=True)
class Turn:
    """One answer of the student and what came of it."""

    key: str
    observation: str  # what it saw before it acted
    reply: Reply
    action: str  # what was done; empty where the answer held no action
    outcome: str  # what followed
    flags: tuple[str, ...]
    tokens_new: int
    tokens_cached: int
    tokens_out: int
    seconds: float  # this game's share of the round
    end: str | None  # why the game ended with this turn, one of trajectory.ENDS; None while it goes on

    @property
    def said(self) -> str:
        """The action, or what was said in its place, on one line."""
        return self.action or f"(no action) {' '.join((self.reply.thought or '').split())}".rstrip()


@dataclass
class _Seat:
    """A game in play."""

    entry: Entry
    observation: str
    pending: list[int]  # tokens the model has not seen yet
    cache: list[Any] | None = None
    cached_tokens: int = 0
    steps: int = 0
    seen: dict[tuple[str, str], int] = field(default_factory=dict)


def play(
    student: Any, writer: Writer, entries: Iterable[Entry], settings: PlaySettings, refused: Any = None
) -> Iterator[Turn]:
    """Play every entry to its end, greedily, `settings.width` at a time; turns come round by round.

    `refused(observation) -> bool` is the environment's own word for an action that did nothing. A game that raises
    ends with "environment"; the others go on. Raises DuomemError when a game's start alone is past the context.
    """
    from mlx_lm.generate import BatchGenerator

    settings = fitted(settings, student, writer)
    waiting = iter(entries)
    seats: list[_Seat] = []
    generator = BatchGenerator(
        student.model,
        max_tokens=settings.max_tokens,
        stop_tokens=[[token] for token in sorted(writer.stop_tokens)],
        completion_batch_size=settings.width,
        prefill_batch_size=settings.width,
    )
    try:
        while True:
            free = settings.width - len(seats)
            seats += [_sit_down(entry, writer, settings) for entry in itertools.islice(waiting, free)]
            if not seats:
                return
            started = time.perf_counter()
            answers = _generate(generator, seats)
            share = (time.perf_counter() - started) / len(seats)
            going = []
            for seat, answer in zip(seats, answers, strict=True):
                turn = _act(seat, answer, writer, settings, refused, share)
                if turn.end is None:
                    going.append(seat)
                yield turn
            seats = going
    finally:
        generator.close()


def fitted(settings: PlaySettings, student: Any, writer: Writer) -> PlaySettings:
    """The settings with what the style and the model decide filled in."""
    holds = getattr(student, "config", {}).get("max_position_embeddings") or settings.max_context_tokens
    return replace(
        settings,
        max_tokens=settings.max_tokens or ANSWER_TOKENS[writer.style],
        max_context_tokens=min(settings.max_context_tokens, holds),
    )


def _sit_down(entry: Entry, writer: Writer, settings: PlaySettings) -> _Seat:
    opening = entry.game.reset()
    tokens = writer.start(opening, entry.examples)
    if len(tokens) + (settings.max_tokens or 0) > settings.max_context_tokens:
        raise DuomemError(
            f"The start of game {entry.key} is {len(tokens)} tokens, more than the context of "
            f"{settings.max_context_tokens} holds.",
            "Use fewer memories (--k).",
        )
    return _Seat(entry, opening, tokens)


def _generate(generator: Any, seats: Sequence[_Seat]) -> list[list[int]]:
    """One answer a seat; its cache then holds everything up to the answer's last token."""
    uids = generator.insert(
        [seat.pending for seat in seats],
        caches=[seat.cache for seat in seats],
    )
    answers: dict[int, list[int]] = {uid: [] for uid in uids}
    by_uid = dict(zip(uids, seats, strict=True))
    unfinished = set(uids)
    while unfinished:
        for response in generator.next_generated():
            answers[response.uid].append(response.token)
            if response.finish_reason is not None:
                by_uid[response.uid].cache = response.prompt_cache
                unfinished.discard(response.uid)
    return [answers[uid] for uid in uids]


def _act(seat: _Seat, answer: list[int], writer: Writer, settings: PlaySettings, refused: Any, seconds: float) -> Turn:
    new, cached = len(seat.pending), seat.cached_tokens
    seat.cached_tokens += new + len(answer)
    seat.steps += 1
    reply = writer.read(answer)
    before = seat.observation
    flags = []
    end: str | None = None
    complete = answer[-1] in writer.stop_tokens
    if not complete:
        flags.append("cut")
    game = seat.entry.game
    action = reply.action or ""
    if reply.action is None:
        flags.append("no_action")
        outcome = NO_ACTION
    else:
        try:
            outcome = game.step(reply.action)
            if game.done:
                end = "won" if game.won else "lost"
        except Exception as error:  # a user's world may raise anything; the other games must go on
            outcome, end = f"{type(error).__name__}: {error}", "environment"
        if end is None and refused is not None and refused(outcome):
            flags.append("refused")
    times = seat.seen[action, outcome] = seat.seen.get((action, outcome), 0) + 1
    if times >= 3:
        flags.append("loop")
    seat.observation = outcome
    seat.pending = ([] if complete else writer.closing()) + writer.observation(outcome)
    if (
        end is None
        and seat.cached_tokens + len(seat.pending) + (settings.max_tokens or 0) > settings.max_context_tokens
    ):
        end = "context"
    if end is None and seat.steps >= settings.max_steps:
        end = "steps"
    return Turn(
        key=seat.entry.key,
        observation=before,
        reply=reply,
        action=action,
        outcome=outcome,
        flags=tuple(flags),
        tokens_new=new,
        tokens_cached=cached,
        tokens_out=len(answer),
        seconds=seconds,
        end=end,
    )
