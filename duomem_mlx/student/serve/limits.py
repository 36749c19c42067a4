"""What a server may use: how much of a conversation, of the machine's memory, of everybody's patience."""

from dataclasses import dataclass
from typing import Any

from duomem_mlx.errors import DuomemError

CONTEXT_TOKENS = 8192  # where a model holds more
MOST_PARALLEL = 16
MOST_KEPT = 64


@dataclass(frozen=True)
class Limits:
    """Of one server."""

    context_tokens: int = CONTEXT_TOKENS  # of messages and answer together
    answer_tokens: int = 1024  # where a request does not say
    parallel: int = 8  # answers computed together
    waiting: int = 64  # requests beyond those; further ones are turned away
    body_bytes: int = 4 << 20
    body_s: float = 60.0  # until a body is there
    kept: int = MOST_KEPT  # caches of conversations
    kept_bytes: int = 1 << 30


def limits_for(
    student: Any,
    token_bytes: int,
    answer_tokens: int,
    parallel: int | None = None,
    context_tokens: int | None = None,
    budget_bytes: int | None = None,
) -> Limits:
    """Half of what the budget (default: what the machine has to give) leaves beside the process as it is goes to
    answers in the making, half to caches that are kept. `token_bytes` are what a token takes in a cache.

    Raises DuomemError when the budget does not hold a single conversation.
    """
    from duomem_mlx.student.machine import resident_bytes, usable_bytes

    holds = student.config.get("max_position_embeddings") or CONTEXT_TOKENS
    context = min(context_tokens or CONTEXT_TOKENS, holds)
    free = (usable_bytes() if budget_bytes is None else budget_bytes) - resident_bytes()
    fitting = free // 2 // (context * token_bytes)
    if fitting < 1:
        raise DuomemError(
            f"A conversation of {context} tokens takes {context * token_bytes >> 20} MB, and there is room for "
            f"{max(0, free) // 2 >> 20} MB.",
            "Ask for less with --context, or give more with --ram.",
        )
    width = min(fitting, parallel or MOST_PARALLEL)
    return Limits(context, min(answer_tokens, context), width, 8 * width, kept_bytes=free // 2)
