"""Runs with tools -> token rows: every request as it will be served, and after it, supervised, what was answered."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from duomem_mlx.errors import DuomemError
from duomem_mlx.prompt import Example
from duomem_mlx.student.serve.hearing import Heard
from duomem_mlx.student.serve.prompts import ChatPrompts
from duomem_mlx.student.serve.shapes import ApiError
from duomem_mlx.tools.calls import Message, text_of
from duomem_mlx.tools.offered import Offered
from duomem_mlx.tools.runs import exchanges, offered
from duomem_mlx.training.rows import Epoch, Examples, Row, memory_count
from duomem_mlx.trajectory import Trajectory

Turn = tuple[list[int], list[int]]  # tokens of a request, tokens of its answer


def make_talks(
    trajectories: Sequence[Trajectory],
    prompts: ChatPrompts,
    *,
    max_tokens: int,
    examples: Examples | None = None,
    k: int = 0,
    seed: int = 0,
    epoch: int = 0,
) -> Epoch:
    """Rows of at most `max_tokens` tokens for every run; `examples`, `k`, `seed` and `epoch` as in `rows.make_epoch`,
    and so are weights.

    A request that begins with the one before it and its answer goes on in the same row; one that does not, since the
    client or the template words earlier answers anew, begins another. An answer in words that would be heard as a call
    when it is served is read and not trained. Memories that have no room are left out of all
    requests of a run. Raises DuomemError naming a run that does not fit or that the chat template refuses.
    """
    rows: list[Row] = []
    cut = shown = left_out = 0
    solutions = Counter(trajectory.game for trajectory in trajectories)
    for trajectory in trajectories:
        wanted = memory_count(seed, trajectory.id, epoch, k) if examples else 0
        memories = list(examples(trajectory, wanted))[:wanted] if examples and wanted else []
        turns = _turns(trajectory, prompts, memories)
        while memories and _longest(turns) > max_tokens:
            memories.pop()
            left_out += 1
            turns = _turns(trajectory, prompts, memories)
        if (longest := _longest(turns)) > max_tokens:
            raise DuomemError(
                f"Run {trajectory.id}: a request and its answer take {longest} tokens.",
                f"Set --max-seq-length, now {max_tokens}, to that, or remove the run.",
            )
        parts = _rows(trajectory.id, turns, max_tokens, 1 / solutions[trajectory.game])
        cut += len(parts) > 1
        shown += len(memories)
        rows += parts
    return Epoch(tuple(rows), cut, shown, left_out)


def _turns(trajectory: Trajectory, prompts: ChatPrompts, memories: Sequence[Example]) -> list[Turn]:
    tools = offered(trajectory)
    try:
        return [
            (
                prompts.tokens(asked.messages, memories, tools),
                prompts.answer(asked.messages, memories, tools, asked.answer),
            )
            for asked in exchanges(trajectory)
            if _is_heard_as_it_is(asked.answer, prompts, tools)
        ]
    except ApiError as error:
        raise DuomemError(f"Run {trajectory.id}: {error}", "Use another model, or remove the run.") from None


def _is_heard_as_it_is(answer: Message, prompts: ChatPrompts, tools: Offered | None) -> bool:
    if answer.get("tool_calls"):
        return True
    heard = Heard(prompts.reading, tools)
    heard.add(text_of(answer))
    return not heard.end()


def _longest(turns: Sequence[Turn]) -> int:
    return max((len(request) + len(answer) for request, answer in turns), default=0)


def _rows(name: str, turns: Sequence[Turn], max_tokens: int, weight: float) -> list[Row]:
    parts: list[tuple[list[int], list[bool]]] = []
    for request, answer in turns:
        tokens, trained = parts[-1] if parts else ([], [])
        if tokens and request[: len(tokens)] == tokens and len(request) + len(answer) <= max_tokens:
            parts.pop()
        else:
            trained = []
        trained = trained + [False] * (len(request) - len(trained)) + [True] * len(answer)
        parts.append((request + answer, trained))
    return [
        Row(name if n == 1 else f"{name}#{n}", np.array(tokens, np.int32), np.array(trained, bool), weight=weight)
        for n, (tokens, trained) in enumerate(parts, 1)
    ]
