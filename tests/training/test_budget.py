from collections import Counter
from dataclasses import asdict, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem_mlx.training import budget
from duomem_mlx.training.budget import Cost, Means
from duomem_mlx.training.rows import Row

PLAIN = Cost(100, 10, 0.5, 3)
AGAIN = Cost(50, 2, 0.1, 3)


def row(name, length):
    trained = np.zeros(length, bool)
    trained[-2:] = True
    return Row(name, np.arange(length, dtype=np.int32) % 250, trained)


lengths = st.lists(st.integers(3, 900), min_size=1, max_size=30)
rooms = st.integers(100, 500_000)


@given(lengths=lengths, most=st.integers(0, 3000), room=rooms, lanes=st.integers(1, 3), coarse=st.booleans())
@settings(max_examples=100, deadline=None)
def test_batches_hold_every_row_within_the_bounds(lengths, most, room, lanes, coarse):
    rows = [row(str(i), length) for i, length in enumerate(lengths)]
    means = Means(lanes=lanes, most_tokens=most, coarse=coarse, room=room, plain=PLAIN, again=AGAIN)
    batches = means.batches(rows)
    assert Counter(r.id for batch in batches for r in batch.rows) == Counter(r.id for r in rows)
    for batch in batches:
        assert batch.width >= max(len(r.tokens) for r in batch.rows) - 1
        assert coarse or batch.width == len(batch.rows[0].tokens) - 1
        cost = AGAIN if batch.again else PLAIN
        assert batch.bytes == int(cost.of(len(batch.rows), batch.width, 2 * len(batch.rows)))
        assert batch.again == (int(PLAIN.of(len(batch.rows), batch.width, 2 * len(batch.rows))) > room / lanes)
        if len(batch.rows) > 1:
            assert len(batch.rows) * batch.width <= most
            assert batch.bytes <= room / lanes
    assert means.batches(rows[::-1]) == batches
    assert budget.from_record(asdict(means)) == means


def test_coarse_widths_are_few_and_not_much_wider():
    tokens = range(1, 2049)
    widths = [Means(coarse=True).batches([row("a", count + 1)])[0].width for count in tokens]
    assert len(set(widths)) <= 16
    assert all(count <= width < count + max(64, count / 4) for count, width in zip(tokens, widths, strict=True))


def test_checkpointing_may_be_asked_for_or_forbidden():
    rows = [row("a", 500), row("b", 20)]
    means = Means(room=PLAIN.of(1, 19, 2) + 1, plain=PLAIN, again=AGAIN)
    assert [batch.again for batch in means.batches(rows)] == [True, False]
    assert [batch.again for batch in replace(means, recompute=True).batches(rows)] == [True, True]
    forbidden = replace(means, recompute=False)
    assert [batch.again for batch in forbidden.batches(rows)] == [False, False]
    assert [batch.rows[0].id for batch in forbidden.overfull(forbidden.batches(rows))] == ["a"]
    assert Means(recompute=True).batches(rows)[0].again
