"""The student's turn loop: many games together.

Each game keeps its history as token ids and one cache (see `answering`); it acts as soon as its answer ends, leaves
when it is over, and another takes its seat.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from duomem_mlx.environment import Game, told
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.prompt import CHAT, COMPACT, Example, Reply, on_one_line
from duomem_mlx.student import cpu
from duomem_mlx.student.answering import Answers, InRounds, Speaker, Together
from duomem_mlx.student.decoding import ADMISSIBLE, FREE, GRAMMAR, GREEDY, Choice, Decoding
from duomem_mlx.student.ragged import fed_by_rows
from duomem_mlx.student.transcript import Writer

LEAVE_OUT = "Leave them out, or take another model."
NO_ACTION = "There was no action in that answer."
ANSWER_TOKENS = {COMPACT: 32, CHAT: 128}  # a line that is an action; a thought and an action


@dataclass(frozen=True)
class PlaySettings:
    """How games are played."""

    max_steps: int = 30  # actions a game
    max_tokens: int | None = None  # tokens an answer; None: the style's own, see `answer_tokens`
    max_context_tokens: int = 8192  # a longer history ends the game; less where the model holds less
    width: int = 16  # games played together
    decoding: Decoding = GREEDY


Commands = Callable[[Sequence[str]], list[str]]


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
    tokens_new: int  # of the start or the observation; what starts have in common counts in each
    tokens_cached: int  # of all before
    tokens_out: int  # those of an answer that another one replaced too
    seconds: float  # this game's share, by tokens, of the passes it was in
    end: str | None  # why the game ended with this turn, one of trajectory.ENDS; None while it goes on

    @property
    def said(self) -> str:
        """The action, or what was said in its place, on one line."""
        return on_one_line(self.action) or f"(no action) {' '.join((self.reply.thought or '').split())}".rstrip()


@dataclass(eq=False, kw_only=True)
class _Seat(Speaker):
    """A game in play."""

    entry: Entry
    observation: str
    new: int  # of the start or the last observation
    clipped: bool = False  # something of that is left out
    cached_tokens: int = 0  # computed in earlier turns
    steps: int = 0
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)  # the opening and all outcomes
    refused: set[str] = field(default_factory=set)  # actions refused since the last one that was not


def play(
    student: Any,
    writer: Writer,
    entries: Iterable[Entry],
    settings: PlaySettings,
    refused: Any = None,
    commands: Commands | None = None,
) -> Iterator[Turn]:
    """Play every entry to its end, `settings.width` at a time; turns come as they are made.

    `refused(observation) -> bool` is the environment's own word for an action that did nothing, `commands(texts)` what
    its grammar makes of what was told so far. A game that raises, or of which one of these or `writer` raises, ends
    with "environment"; the others go on. Raises
    DuomemError when a game's start alone is past the context, UsageError for an aid to decoding that the environment
    or the model has not got.
    """
    settings = fitted(settings, student, writer)
    waiting = iter(entries)
    rows = fed_by_rows(student.model)
    _check_aids(settings.decoding, rows is not None, refused, commands)
    answers: Answers
    stop, most = writer.stop_tokens, settings.max_tokens or 0
    if rows:
        answers, lanes_used = Together(rows, stop, most), cpu.lanes(settings.width)
    else:
        answers, lanes_used = InRounds(student.model, stop, most, settings.width), 1
    advance: Callable[[Sequence[_Seat]], list[_Seat]] = answers.advance
    lanes: list[list[_Seat]] = [[] for _ in range(lanes_used)]
    running: dict[Future[list[_Seat]], int] = {}
    with ThreadPoolExecutor(lanes_used) as pool:
        begin = pool.submit if lanes_used > 1 else _begin_here
        try:
            while True:
                for number, lane in enumerate(lanes):
                    if number in running.values():
                        continue
                    free = settings.width // lanes_used + (number < settings.width % lanes_used) - len(lane)
                    while free > 0 and (entry := next(waiting, None)) is not None:
                        begun = _sit_down(entry, writer, settings, commands)
                        if isinstance(begun, Turn):
                            yield begun
                            continue
                        lane.append(begun)
                        free -= 1
                    if lane:
                        running[begin(advance, tuple(lane))] = number
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    lane = lanes[running.pop(future)]
                    for seat in future.result():
                        turn = _act(seat, writer, settings, refused)
                        if turn.end is None:
                            try:
                                seat.choice = _choice(seat, writer, settings.decoding, commands)
                            except UsageError:
                                raise
                            except Exception as error:
                                turn = replace(turn, outcome=_told(error), end="environment")
                        if turn.end is not None:
                            lane.remove(seat)
                            seat.cache = []
                            cpu.trim_heap()
                        yield turn
        finally:
            for future in running:
                future.cancel()


def _begin_here(advance: Callable[..., list[_Seat]], lane: Sequence[_Seat]) -> "Future[list[_Seat]]":
    """In this thread, where a model's arrays may wait to be computed that no other thread can compute."""
    future: Future[list[_Seat]] = Future()
    future.set_result(advance(lane))
    return future


def _check_aids(decoding: Decoding, fed: bool, refused: Any, commands: Commands | None) -> None:
    if decoding.guided and not fed:
        raise UsageError("This model's cache cannot be gone back in, as --avoid-refused and --actions need.", LEAVE_OUT)
    if decoding.avoid_refused and refused is None:
        raise UsageError("This environment does not say which actions were refused.", "Leave --avoid-refused out.")
    if decoding.actions == GRAMMAR and commands is None:
        raise UsageError("This environment has no grammar of commands.", "Leave --actions out.")


def _choice(seat: "_Seat", writer: Writer, decoding: Decoding, commands: Commands | None) -> Choice | None:
    """How the seat's next answer is chosen; None where it is plainly the most likely one."""
    if decoding.plain:
        return None
    allowed = None
    if decoding.actions != FREE:
        game: Any = seat.entry.game
        if not hasattr(game, "valid_commands") and decoding.actions == ADMISSIBLE:
            raise UsageError("This environment does not tell which commands are valid.", "Leave --actions out.")
        texts = game.valid_commands() if decoding.actions == ADMISSIBLE or commands is None else commands(seat.told)
        left = [text for text in texts if not (decoding.avoid_refused and text in seat.refused)]
        allowed = [writer.action(text) for text in left or texts]
    number = int.from_bytes(hashlib.sha256(seat.entry.key.encode()).digest()[:8], "big")
    again = frozenset(seat.refused if decoding.avoid_refused else ())
    return Choice(decoding, (number, seat.steps), allowed, lambda answer: writer.read(answer).action in again)


def fitted(settings: PlaySettings, student: Any, writer: Writer) -> PlaySettings:
    """The settings with what the style and the model decide filled in."""
    holds = getattr(student, "config", {}).get("max_position_embeddings") or settings.max_context_tokens
    return replace(
        settings,
        max_tokens=settings.max_tokens or ANSWER_TOKENS[writer.style],
        max_context_tokens=min(settings.max_context_tokens, holds),
    )


def _not_begun(entry: Entry, opening: str, error: Exception) -> Turn:
    return Turn(entry.key, opening, Reply(None), "", _told(error), (), 0, 0, 0, 0.0, "environment")


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, DuomemError) else told(error)


def _sit_down(entry: Entry, writer: Writer, settings: PlaySettings, commands: Commands | None) -> _Seat | Turn:
    """A turn in which it is over for a game that cannot be begun: a user's world may raise anything, and the other
    games must go on."""
    opening = ""
    try:
        opening = entry.game.reset()
        tokens = writer.start(opening, entry.examples)
        clipped = writer.cuts(opening)
    except Exception as error:
        return _not_begun(entry, opening, error)
    if len(tokens) + (settings.max_tokens or 0) > settings.max_context_tokens:
        fewer = "fewer memories (--k)" if entry.examples else ""
        shorter = "shorter answers (--max-tokens)" if len(tokens) < settings.max_context_tokens else ""
        fixes = " or ".join(filter(None, (shorter, fewer)))
        raise DuomemError(
            f"The start of game {entry.key} is {len(tokens)} tokens; with an answer of up to {settings.max_tokens} "
            f"that is more than the context of {settings.max_context_tokens} holds.",
            f"Use {fixes}." if fixes else "Take a model with a longer context.",
        )
    seat = _Seat(entry=entry, observation=opening, pending=tokens, new=len(tokens), told=[opening], clipped=clipped)
    try:
        seat.choice = _choice(seat, writer, settings.decoding, commands)
    except UsageError:
        raise
    except Exception as error:
        return _not_begun(entry, opening, error)
    return seat


def _act(seat: _Seat, writer: Writer, settings: PlaySettings, refused: Any) -> Turn:
    answer, new, cached, seconds = seat.answer, seat.new, seat.cached_tokens, seat.seconds
    seat.cached_tokens += new + len(answer)
    seat.steps += 1
    reply = writer.read(answer)
    before = seat.observation
    flags = ["clipped"] if seat.clipped else []  # what it read was
    end: str | None = None
    complete = answer[-1] in writer.stop_tokens
    if not complete:
        flags.append("cut")
    game = seat.entry.game
    action = reply.action or ""
    following: list[int] = []
    try:
        if reply.action is None:
            flags.append("no_action")
            outcome = NO_ACTION
        else:
            outcome = game.step(reply.action)
            if game.done:
                end = "won" if game.won else "lost"
            if end is None and refused is not None and refused(outcome):
                flags.append("refused")
                seat.refused.add(action)
            else:
                seat.refused.clear()
        if end is None:
            following = ([] if complete else writer.closing()) + writer.observation(outcome)
            seat.clipped = writer.cuts(outcome)
    except Exception as error:  # a user's world may raise anything; the other games must go on
        outcome, end = _told(error), "environment"
    if seat.choice is not None and seat.choice.tries:
        flags.append("changed")
    times = seat.seen[action, outcome] = seat.seen.get((action, outcome), 0) + 1
    if times >= 3:
        flags.append("loop")
    seat.observation = outcome
    seat.told.append(outcome)
    said, seat.taken_back = len(answer) + seat.taken_back, 0
    seat.pending += following
    seat.new, seat.answer, seat.seconds = len(following), [], 0.0
    if end is None and seat.cached_tokens + seat.new + (settings.max_tokens or 0) > settings.max_context_tokens:
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
        tokens_out=said,
        seconds=seconds,
        end=end,
    )
