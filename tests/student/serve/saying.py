"""A model that says what it is told to, whatever it is asked."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx


class Heard:
    """A cache: all tokens that went in."""

    nbytes = 0

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def is_trimmable(self) -> bool:
        return False


class Saying:
    """A feeder whose likeliest token goes on with `text`, from as much of it as stands at the end already."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        self.tokens = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        self.size = max(tokenizer.get_vocab().values()) + 1
        self.asked: list[list[int]] = []

    def fresh(self) -> list[Any]:
        return [Heard()]

    def logits(self, caches: Sequence[list[Any]], chunks: Sequence[Sequence[int]]) -> mx.array:
        return mx.stack([self._next(cache[0], chunk) for cache, chunk in zip(caches, chunks, strict=True)])

    def _next(self, heard: Heard, chunk: Sequence[int]) -> mx.array:
        heard.tokens += chunk
        self.asked.append(list(heard.tokens))
        said = next(
            n for n in range(len(self.tokens) - 1, -1, -1) if heard.tokens[len(heard.tokens) - n :] == self.tokens[:n]
        )
        return mx.arange(self.size) == self.tokens[said]
