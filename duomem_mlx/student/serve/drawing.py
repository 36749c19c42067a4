"""The next token of each answer: the likeliest, or drawn."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from duomem_mlx.student.decoding import cooled


class Draw:
    """Draws for one answer; the same seed draws the same, whoever else is answered in the same pass."""

    def __init__(self, temperature: float, top_p: float | None, seed: int) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._key = mx.random.key(seed)

    def __call__(self, logits: mx.array) -> mx.array:
        """A token from logits [vocabulary]."""
        from mlx_lm.sample_utils import apply_top_p

        self._key, now = mx.random.split(self._key)
        scores = logits.astype(mx.float32)
        scores = scores - mx.logsumexp(scores, axis=-1)
        if self._top_p is not None and self._top_p < 1:
            scores = apply_top_p(scores[None], self._top_p)[0]
        return mx.random.categorical(cooled(scores, self._temperature), key=now)


def next_tokens(logits: mx.array, draws: Sequence[Draw | None]) -> list[int]:
    """One token a row of logits [rows, vocabulary]; without a draw the likeliest."""
    likeliest = mx.argmax(logits, axis=-1)
    drawn = {row: draw(logits[row]) for row, draw in enumerate(draws) if draw is not None}
    mx.eval(likeliest, *drawn.values())
    tokens: Any = likeliest.tolist()
    for row, token in drawn.items():
        tokens[row] = token.tolist()
    return list(tokens)
