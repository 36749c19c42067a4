"""What a server may use: how much of a conversation, of the machine's memory, of everybody's patience."""

from dataclasses import dataclass
from typing import Any

from duomem_mlx.errors import DuomemError

CONTEXT_TOKENS = 8192  # where a model holds more
MOST_PARALLEL = 16
MOST_KEPT = 64
KEPT_SHARE = 8  # where no budget is given, caches that are kept take an eighth of the machine's memory at most
SPARE_BYTES = 256 << 20  # freed buffers that MLX keeps for reuse, as `cpu.CACHE_BYTES`; on a GPU it would keep all


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
    spare_bytes: int = SPARE_BYTES
    most_bytes: int | None = None  # what the process comes to hold with all this; None: nobody reckoned


def limits_for(
    student: Any,
    token_bytes: int,
    answer_tokens: int,
    parallel: int | None = None,
    context_tokens: int | None = None,
    budget_bytes: int | None = None,
) -> Limits:
    """Half of what the budget leaves beside the process as it is and MLX's spare buffers goes to answers in the making,
    half to caches that are kept; without a budget it is what the machine has to give, and an eighth of the machine's
    memory is the most that caches are kept in. `token_bytes` are what a token takes in a cache.

    Raises DuomemError when the budget does not hold a single conversation.
    """
    from duomem_mlx.student.machine import resident_bytes, total_bytes, usable_bytes

    holds = student.config.get("max_position_embeddings") or CONTEXT_TOKENS
    context = min(context_tokens or CONTEXT_TOKENS, holds)
    held = resident_bytes() + SPARE_BYTES
    free = (usable_bytes() if budget_bytes is None else budget_bytes) - held
    fitting = free // 2 // (context * token_bytes)
    if fitting < 1:
        raise DuomemError(
            f"A conversation of {context} tokens takes {context * token_bytes >> 20} MB, and there is room for "
            f"{max(0, free) // 2 >> 20} MB.",
            "Ask for less with --context, or give more with --ram.",
        )
    width = min(fitting, parallel or MOST_PARALLEL)
    kept = free // 2 if budget_bytes is not None else min(free // 2, total_bytes() // KEPT_SHARE)
    most = held + width * context * token_bytes + kept
    return Limits(context, min(answer_tokens, context), width, 8 * width, kept_bytes=kept, most_bytes=most)
