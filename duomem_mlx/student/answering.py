"""What lets the student speak in many conversations together, with every token computed once.

What is new in a conversation is fed together with the next token of those that are in mid-answer. Who speaks and when
is the caller's: here are tokens and caches, no games.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Protocol, TypeVar
from warnings import warn

import mlx.core as mx

from duomem_mlx.errors import DuomemWarning
from duomem_mlx.student import cpu
from duomem_mlx.student.beginnings import Beginnings
from duomem_mlx.student.decoding import Choice
from duomem_mlx.student.feeding import ByRows, OneByOne
from duomem_mlx.student.ragged import TRIED, Rows

ONE_BY_ONE = "This model cannot compute several games in one pass; they take their turns one after the other."
PASS_TOKENS = 2048  # fed to the model at once; a longer start takes several passes


@dataclass(eq=False, kw_only=True)
class Speaker:
    """A conversation in which the student is to answer."""

    pending: list[int]  # tokens the model has not seen yet
    answer: list[int] = field(default_factory=list)
    choice: Choice | None = None  # of the answer in the making, where it is not plainly the most likely one
    taken_back: int = 0  # tokens of an answer that another one replaced
    seconds: float = 0.0  # its share, by tokens, of the passes it was in
    cache: list[Any] = field(default_factory=list)  # empty before its first token is computed


class Pending(Protocol):
    """What is fed to a model."""

    pending: list[int]  # tokens the model has not seen yet


_Fed = TypeVar("_Fed", bound=Pending)
_Speaker = TypeVar("_Speaker", bound=Speaker)


class Answers(Protocol):
    """What lets the student speak."""

    def advance(self, speakers: Sequence[_Speaker]) -> list[_Speaker]:
        """Compute until at least one of them has a whole answer, and give back those that have."""


class Together:
    """Rows of different length in one pass; see `ragged`. Several threads may ask at once, each for its own."""

    def __init__(self, rows: Rows, stop: Collection[int], max_tokens: int) -> None:
        self._rows = rows
        self._beginnings = Beginnings(ByRows(rows))
        self._stop = stop
        self._most = max_tokens

    def advance(self, speakers: Sequence[_Speaker]) -> list[_Speaker]:
        _begin(self._beginnings, speakers)
        finished: list[_Speaker] = []
        while not finished:
            fed, chunks = share(speakers, PASS_TOKENS)
            started = time.perf_counter()
            tokens = self._said(fed, chunks)
            each = (time.perf_counter() - started) / sum(map(len, chunks))
            for speaker, chunk, token in zip(fed, chunks, tokens, strict=True):
                speaker.seconds += each * len(chunk)
                speaker.pending = speaker.pending[len(chunk) :]
                if speaker.pending:
                    continue
                speaker.answer.append(token)
                speaker.pending = [token]
                if self._stands(speaker):
                    finished.extend(self._whole(speaker))
        return finished

    def _said(self, speakers: Sequence[Speaker], chunks: Sequence[Sequence[int]]) -> list[int]:
        rows = [speaker.cache[0] for speaker in speakers]
        if all(speaker.choice is None for speaker in speakers):
            return self._rows.feed(rows, chunks)
        logits = self._rows.logits(rows, chunks)
        with cpu.quick():
            mx.eval(logits)
        said = []
        for speaker, chunk, scores in zip(speakers, chunks, logits, strict=True):
            whole = speaker.choice is not None and len(chunk) == len(speaker.pending)
            said.append(speaker.choice.next(speaker.answer, scores) if whole and speaker.choice else 0)
        return said

    def _whole(self, speaker: _Speaker) -> list[_Speaker]:
        """The speaker, where its answer stands; none where another one was begun in its place."""
        while (begun := None if speaker.choice is None else speaker.choice.instead(speaker.answer)) is not None:
            speaker.cache[0].trim(len(speaker.answer) - len(begun))
            speaker.taken_back += len(speaker.answer) - len(begun) + 1
            speaker.answer, speaker.pending = begun, begun[-1:]
            if not self._stands(speaker):
                return []
        return [speaker]

    def _stands(self, speaker: Speaker) -> bool:
        return speaker.answer[-1] in self._stop or len(speaker.answer) >= self._most


def share(speakers: Sequence[_Fed], room: int) -> tuple[list[_Fed], list[list[int]]]:
    """Who is fed in a pass, and what: the shortest first, up to `room` tokens."""
    fed, chunks = list[_Fed](), list[list[int]]()
    for speaker in sorted(speakers, key=lambda speaker: len(speaker.pending)):
        if room <= 0:
            break
        fed.append(speaker)
        chunks.append(speaker.pending[:room])
        room -= len(chunks[-1])
    return fed, chunks


class InRounds:
    """Through mlx-lm's batch generator, for models with caches of another kind: all take a turn together, or one after
    the other where the model cannot compute texts of different length in one pass."""

    def __init__(self, model: Any, stop: Collection[int], max_tokens: int, width: int) -> None:
        from mlx_lm.generate import BatchGenerator

        self._beginnings = Beginnings(OneByOne(model))
        self._generator = partial(
            BatchGenerator,
            model,
            max_tokens=max_tokens,
            stop_tokens=[[token] for token in sorted(stop)],
            completion_batch_size=width,
            prefill_batch_size=width,
        )
        self._together = width == 1 or self._can_be_together()

    def advance(self, speakers: Sequence[_Speaker]) -> list[_Speaker]:
        _begin(self._beginnings, speakers)
        started = time.perf_counter()
        for group in [speakers] if self._together else [[speaker] for speaker in speakers]:
            self._answer(group)
        for speaker in speakers:
            speaker.pending = []
            speaker.seconds += (time.perf_counter() - started) / len(speakers)
        return list(speakers)

    def _answer(self, speakers: Sequence[Speaker]) -> None:
        generator = self._generator()
        uids = generator.insert(
            [speaker.pending for speaker in speakers],
            caches=[speaker.cache or None for speaker in speakers],
            samplers=[None if speaker.choice is None else _sampler(speaker.choice) for speaker in speakers],
        )
        by_uid = dict(zip(uids, speakers, strict=True))
        unfinished = set(uids)
        while unfinished:
            for response in generator.next_generated():
                speaker = by_uid[response.uid]
                speaker.answer.append(response.token)
                if response.finish_reason is not None:
                    speaker.cache = response.prompt_cache  # it holds the answer's last token too
                    unfinished.discard(response.uid)

    def _can_be_together(self) -> bool:
        try:
            for size in (len(TRIED), len(TRIED) - 1):
                generator = self._generator(max_tokens=1, completion_batch_size=size, prefill_batch_size=size)
                left = set(generator.insert([[*tokens] * 8 for tokens in TRIED[:size]]))
                while left:
                    left -= {response.uid for response in generator.next_generated()}
        except ValueError:
            # In mlx-lm 0.32.2 gemma2's scores and mask are of different shapes; as many texts as there are heads of
            # keys would be computed, and wrongly: hence two sizes.
            warn(ONE_BY_ONE, DuomemWarning, stacklevel=2)
            return False
        return True


def _begin(beginnings: Beginnings, speakers: Sequence[Speaker]) -> None:
    if not (new := [speaker for speaker in speakers if not speaker.cache]):
        return
    started = time.perf_counter()
    for speaker, (cache, length) in zip(new, beginnings.lend([one.pending for one in new]), strict=True):
        speaker.cache, speaker.pending = cache, speaker.pending[length:]
    for speaker in new:
        speaker.seconds += (time.perf_counter() - started) / len(new)


def _sampler(choice: Choice) -> Callable[[mx.array], mx.array]:
    places = count()
    return lambda scores: mx.array([choice.next([0] * next(places), scores[0])])
