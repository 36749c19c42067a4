"""What the starts of games have in common, a system text say, goes through the model once."""

from collections.abc import Sequence
from threading import Lock

from duomem_mlx.student.ragged import Row, Rows

LEAST = 32  # tokens that are worth a pass of their own
PASS_TOKENS = 2048  # fed at once


class Beginnings:
    """The longest beginning found so far. Several threads may ask at once."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._lock = Lock()
        self._before: Sequence[int] = ()  # the start asked about last
        self._tokens: Sequence[int] = ()
        self._row = Row()  # holds exactly them

    def lend(self, starts: Sequence[Sequence[int]]) -> list[Row]:
        """For each start a row that holds its first tokens, or none of them: never all, since a model that is fed
        nothing says nothing."""
        with self._lock:
            for start in starts:
                shared = _shared(self._before, start)
                if shared >= _shared(self._tokens, start) + LEAST:
                    self._hold(start[:shared])
                self._before = start
            return [self._lent(_shared(self._tokens, start[:-1])) for start in starts]

    def _hold(self, tokens: Sequence[int]) -> None:
        self._row = self._lent(_shared(self._tokens, tokens))
        self._tokens = tokens
        while new := tokens[self._row.length :][:PASS_TOKENS]:
            self._rows.feed([self._row], [new])

    def _lent(self, length: int) -> Row:
        if length < LEAST:
            return Row()
        keys, values = (
            {layer: buffer[:, :length] for layer, buffer in buffers.items()}
            for buffers in (self._row.keys, self._row.values)
        )
        return Row(length, keys, values)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
