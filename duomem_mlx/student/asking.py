"""Asking a student a question outside of any game: what writes scripts, rewrites them, and finds key facts."""

import re
from collections.abc import Callable
from typing import Any

from duomem_mlx.errors import DuomemError
from duomem_mlx.student.fitting import fitted
from duomem_mlx.student.transcript import ChatWriter

SYSTEM = "You are a helpful assistant."
_THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_CONTEXT_TOKENS = 8192  # where a model does not say


def asker(student: Any, max_tokens: int = 256) -> Callable[[str], str]:
    """question -> answer of a loaded student, greedily, through its chat template, without its thoughts.

    A question is untrusted text: control tokens in it stay text. One that the context does not hold is cut in its
    middle. Raises DuomemError for a model that has no chat template to be asked through.
    """
    try:
        writer = ChatWriter.of(student.tokenizer, SYSTEM)
    except DuomemError as error:
        raise DuomemError(error.what, "Ask another model, or let no model write.") from None
    holds = getattr(student, "config", {}).get("max_position_embeddings") or _CONTEXT_TOKENS

    def ask(question: str) -> str:
        tokens = _fitted(writer, question, min(holds, _CONTEXT_TOKENS) - max_tokens)
        return _answer(student, writer.stop_tokens, tokens, max_tokens)

    return ask


def _fitted(writer: Any, question: str, room: int) -> list[int]:
    tokens: list[int] = writer.start(fitted(question, room, lambda part: len(writer.start(part, ()))), ())
    return tokens


def _answer(student: Any, stop_tokens: frozenset[int], tokens: list[int], max_tokens: int) -> str:
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    said: list[int] = []
    for token, _ in generate_step(mx.array(tokens), student.model, max_tokens=max_tokens):
        if int(token) in stop_tokens:
            break
        said.append(int(token))
    return _THOUGHTS.sub("", str(student.tokenizer.decode(said))).strip()
