"""Games of different length in one pass of a model.

What every game is fed next, one token or a hundred, goes through the linear layers side by side; each then attends to
its own keys alone. There is no padding, no mask between games, and a game's cache is never copied when others come or
go. Each token is given to the model as a sequence of its own, with its position, so that models of mlx-lm need no
change; what its attention calls keys are then `_Keys`, which the function below takes apart game by game.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import mlx.core as mx

from duomem_mlx.student.cpu import quick
from duomem_mlx.student.heads import Logits, logits_at

STEP = 256  # tokens a game's buffers grow by
TRIED = ((3, 1, 4, 1, 5, 9, 2), (6, 5, 3), (5,))  # what a model is tried with; a second helping of each is fed too


@dataclass
class Row:
    """One game's cache. It can be copied, cut and counted as one of mlx-lm's."""

    length: int = 0  # tokens the model has seen
    keys: dict[int, mx.array] = field(default_factory=dict)  # by layer: [heads, capacity, features]
    values: dict[int, mx.array] = field(default_factory=dict)

    def is_trimmable(self) -> bool:
        return True

    def trim(self, tokens: int) -> int:
        """Forget the last `tokens`; how many that were. Whole steps that hold nothing any more are given up."""
        tokens = min(tokens, self.length)
        self.length -= tokens
        most = _capacity(self.length)
        if any(buffer.shape[1] > most for buffer in self.keys.values()):
            self.keys, self.values = (
                {layer: mx.contiguous(buffer[:, :most]) for layer, buffer in buffers.items()}
                for buffers in (self.keys, self.values)
            )
            mx.eval(self.keys, self.values)  # now: the thread that goes on with it may be another
        return tokens

    @property
    def nbytes(self) -> int:
        held = list(self.keys.values()) + list(self.values.values())  # lists: another thread may be feeding it
        return sum(buffer.nbytes for buffer in held)


@dataclass(frozen=True)
class _Keys:
    """What the attention of one layer reads: per game its tokens in the pass, its keys and its values."""

    games: Sequence[tuple[int, int, mx.array, mx.array]]


@dataclass(frozen=True)
class _Pass:
    rows: Sequence[Row]
    edges: Sequence[int]  # game i's tokens are edges[i] to edges[i + 1]
    positions: mx.array


@dataclass(frozen=True)
class _Layer:
    """A layer's cache as a model of mlx-lm knows it."""

    given: _Pass
    number: int

    @property
    def offset(self) -> mx.array:
        return self.given.positions

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[_Keys, None]:
        """keys, values [tokens, heads, 1, features]."""
        games = []
        for row, (begin, end) in zip(self.given.rows, pairwise(self.given.edges), strict=True):
            length = row.length + end - begin
            kept = [
                _written(buffers, self.number, row.length, new[begin:end, :, 0].swapaxes(0, 1))
                for buffers, new in ((row.keys, keys), (row.values, values))
            ]
            games.append((begin, end, kept[0][:, :length], kept[1][:, :length]))
        return _Keys(games), None


def _capacity(tokens: int) -> int:
    """Of a buffer that holds them."""
    return -(-tokens // STEP) * STEP


def _written(buffers: dict[int, mx.array], layer: int, at: int, new: mx.array) -> mx.array:
    """The layer's buffer with `new` [heads, tokens, features] from `at` on; grown where it was too short."""
    heads, tokens, features = new.shape
    if layer not in buffers or buffers[layer].shape[1] < at + tokens:
        grown = mx.zeros((heads, _capacity(at + tokens), features), new.dtype)
        if at:
            grown[:, :at] = buffers[layer][:, :at]
        buffers[layer] = grown
    buffers[layer][:, at : at + tokens] = new
    return buffers[layer]


_plain_attention = mx.fast.scaled_dot_product_attention


def _attention(queries: mx.array, keys: Any, values: Any, **options: Any) -> mx.array:
    if not isinstance(keys, _Keys):
        found: mx.array = _plain_attention(queries, keys, values, **options)
        return found
    queries = queries[:, :, 0]  # [tokens, heads, features]
    scale = options["scale"]
    return mx.concatenate([_of_game(queries[a:b], k, v, scale) for a, b, k, v in keys.games])[:, :, None]


def _of_game(queries: mx.array, keys: mx.array, values: mx.array, scale: float) -> mx.array:
    """queries [new tokens, heads, features], keys and values [groups, all tokens, features]."""
    tokens, heads, features = queries.shape
    if tokens == 1:
        groups = keys.shape[0]
        scores = (queries * scale).reshape(groups, heads // groups, features) @ keys.swapaxes(-1, -2)
        return (mx.softmax(scores, axis=-1) @ values).reshape(1, heads, -1)
    attend: Any = mx.fast.scaled_dot_product_attention
    found: mx.array = attend(queries.swapaxes(0, 1)[None], keys[None], values[None], scale=scale, mask="causal")
    return found[0].swapaxes(0, 1)


_fast: Any = mx.fast
_fast.scaled_dot_product_attention = _attention  # for good: nothing but `_Keys` goes another way than before


class Rows:
    """Feeds games to one model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._layers = len(model.layers)
        self._logits: Logits = logits_at(model)[0]

    def feed(self, rows: Sequence[Row], chunks: Sequence[Sequence[int]]) -> list[int]:
        """The most likely next token of every row after its chunk, of at least one token. Rows may be fed by several
        threads at once, each row by one."""
        with quick():
            tokens = mx.argmax(self.logits(rows, chunks), axis=-1)
            mx.eval(tokens)
        found: Any = tokens.tolist()
        return list(found)

    def logits(self, rows: Sequence[Row], chunks: Sequence[Sequence[int]]) -> mx.array:
        """[rows, vocabulary] after each chunk; the rows have seen the chunks when it is evaluated."""
        edges = [0, *accumulate(len(chunk) for chunk in chunks)]
        positions = [row.length + i for row, chunk in zip(rows, chunks, strict=True) for i in range(len(chunk))]
        given = _Pass(rows, edges, mx.array(positions))
        ids = mx.array([[token] for chunk in chunks for token in chunk])
        last = mx.array([edge - 1 for edge in edges[1:]])
        with quick():
            logits = self._logits(ids, last, cache=[_Layer(given, number) for number in range(self._layers)])
        for row, chunk in zip(rows, chunks, strict=True):
            row.length += len(chunk)
        return logits


def fed_by_rows(model: Any) -> Rows | None:
    """For a model that can be fed so: its caches are plain ones, and on a few tokens it says the same as without."""
    from mlx_lm.models.cache import KVCache, make_prompt_cache

    if not all(type(cache) is KVCache for cache in make_prompt_cache(model)):
        return None
    wanted = mx.concatenate([model(mx.array([[*tokens, *tokens]]))[:, -1] for tokens in TRIED])
    try:
        fed, rows = Rows(model), [Row() for _ in TRIED]
        fed.feed(rows, TRIED)
        found = fed.logits(rows, TRIED)
        same = found.shape == wanted.shape and bool(mx.allclose(found, wanted, rtol=1e-2, atol=1e-2).item())
    except Exception:  # a model written otherwise fails in its own way
        return None
    return fed if same else None
