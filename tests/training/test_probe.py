from dataclasses import replace
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.student import cpu, machine
from duomem_mlx.training import forks, probe
from duomem_mlx.training.budget import Cost, Means
from duomem_mlx.training.lanes import computing
from duomem_mlx.training.lora import add_lora
from duomem_mlx.training.rows import Row
from duomem_mlx.training.settings import TrainSettings
from tests.training import made


def row(name, length):
    trained = np.zeros(length, bool)
    trained[-length // 8 :] = True
    return Row(name, np.arange(length, dtype=np.int32) % 250, trained)


ROWS = [row("long", 1300), row("middling", 700), *(row(f"short {i}", 200) for i in range(3))]


@pytest.fixture(scope="module")
def model():
    found = made.model("qwen3", blocks=8)
    add_lora(found, 4, 2.0, 0.0, (), -1, 0)
    return found


@pytest.fixture(scope="module")
def deep():
    """One in which checkpointing saves much, so that there is room for trials with long rows."""
    found = made.model("qwen3", blocks=48)
    add_lora(found, 4, 2.0, 0.0, (), -1, 0)
    return found


@pytest.fixture
def ram_for(deep, monkeypatch):
    """The budget that leaves so much room for rows, on a machine where this process takes nothing but its arrays."""
    monkeypatch.setattr(machine, "resident_bytes", mx.get_active_memory)

    def ram(room):
        bare = probe._without_costs(deep, TrainSettings(ram=2**30))
        return int(2**30 - bare.room + room)

    return ram


def test_short_trials_say_what_long_rows_take(model):
    means, trials = probe.resolve(model, ROWS, TrainSettings())
    again, _ = probe.resolve(model, ROWS, TrainSettings(grad_checkpoint=True))
    for chosen in (means, again):
        with computing(model, replace(chosen, lanes=1)) as lanes:
            for batch in chosen.batches(ROWS[:2]):
                assert batch.again == (chosen is again)
                taken, _ = probe._measured(lanes, model, [batch])
                # Of what so small a model takes much is there in passing; check_memory.py looks at real ones.
                assert 0.65 * taken < batch.bytes < 1.5 * taken
    assert again.batches(ROWS)[0].bytes < 0.9 * means.batches(ROWS)[0].bytes
    assert set(trials) == {False}


def test_long_rows_are_checkpointed_where_room_is_short_and_refused_where_there_is_none(deep, ram_for):
    plain, again = (
        probe.resolve(deep, ROWS, TrainSettings(grad_checkpoint=how))[0].batches(ROWS) for how in (False, True)
    )
    between = (plain[0].bytes + again[0].bytes) // 2
    means, trials = probe.resolve(deep, ROWS, TrainSettings(ram=ram_for(between)))
    again_there = [batch.again for batch in means.batches(ROWS)]
    assert (again_there[0], again_there[2:]) == (True, [False] * 3)
    assert set(trials) == {False, True}
    with pytest.raises(DuomemError, match=r"does not fit .* long of 1300 tokens .*--ram .*leave out --no-grad"):
        probe.resolve(deep, ROWS, TrainSettings(ram=ram_for(between), grad_checkpoint=False))
    with pytest.raises(DuomemError, match=r"does not fit .*--max-seq-length (\d+)") as refused:
        probe.resolve(deep, ROWS, TrainSettings(ram=ram_for(again[0].bytes // 2)))
    shorter = int(str(refused.value).split("--max-seq-length ")[1].split(".")[0].split(",")[0])
    assert 200 < shorter < 1300
    with pytest.raises(DuomemError, match=r"beside model and optimizer there are 0\.0"):
        probe.resolve(deep, ROWS, TrainSettings(ram=1))


def test_the_budget_that_is_advised_is_enough(model):
    with pytest.raises(DuomemError) as refused:
        probe.resolve(model, ROWS, TrainSettings(ram=2**20))
    advised = str(refused.value).split("--ram ")[1].split("GB")[0]
    probe.resolve(model, ROWS, TrainSettings(ram=machine.size_in_bytes(f"{advised}GB")))


def test_every_process_that_computes_keeps_freed_buffers_of_its_own(model, monkeypatch):
    monkeypatch.setattr(machine, "resident_bytes", mx.get_active_memory)
    monkeypatch.setattr(cpu, "lanes", lambda rows: 3)

    def means(copies):
        monkeypatch.setattr(forks, "possible", lambda: copies)
        return probe._without_costs(model, TrainSettings(ram=2**31))

    assert means(copies=False).room - means(copies=True).room == 2 * means(copies=True).cache > 0


def test_more_than_the_machine_has_is_refused(model):
    with pytest.raises(UsageError, match="the machine has"):
        probe.resolve(model, ROWS, TrainSettings(ram=2**60))


@pytest.mark.parametrize("thorough", [False, True])
def test_a_plan_counts_what_is_left(model, thorough, monkeypatch):
    real = probe._measured

    def on_an_even_machine(lanes, model, batches):
        return real(lanes, model, batches)[0], sum(len(batch.rows) * batch.width for batch in batches) / 1000

    monkeypatch.setattr(probe, "_measured", on_an_even_machine)
    chosen = TrainSettings(batch_size=2, eval_every=2)
    means, trials = probe.resolve(model, ROWS, chosen)
    steps = [ROWS[:2], ROWS[2:4], ROWS[4:]]
    whole = probe.plan(model, steps, ROWS[:1], chosen, means, trials, thorough=thorough)
    rest = probe.plan(model, steps, ROWS[:1], chosen, means, probe.try_out(model, ROWS, means), 2, thorough)
    assert (whole.steps, rest.steps) == (3, 1)
    assert (whole.tokens, rest.tokens) == (2600, 200)
    assert 0 < rest.seconds < whole.seconds
    assert whole.recomputed == 0
    assert whole.peak_bytes < whole.resident_bytes
    assert whole.disk_bytes > 0


def test_what_rows_take_together_follows_from_when_they_run():
    def most(lengths, lanes, room=None, recompute=False, found=(1, 1)):
        means = Means(lanes=lanes, room=room, recompute=recompute, plain=Cost(0, 10, 0, 0), again=Cost(0, 2, 0, 0))
        batches = means.batches([row(str(i), length + 1) for i, length in enumerate(lengths)])
        return probe.most_at_once(batches, means, {False: found[0], True: found[1]})

    assert most([90, 60, 30], 1) == 900
    assert most([90, 90], 2) == pytest.approx(1800)
    assert most([90, 90], 2, room=1700) == 900  # one after the other
    assert most([90, 90, 90], 2, room=1800) == pytest.approx(1800)
    assert most([90, 60], 2) == pytest.approx(1200)  # the top of one is not that of the other
    assert most([90, 60, 30], 2, recompute=True) == 300
    assert most([90, 60, 30], 2, recompute=True, found=(9, 1.5)) == 450
    assert most([90, 60], 1, found=(0.5, 9)) == 450


@given(
    st.lists(st.integers(1, 1200), min_size=1, max_size=9),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(12_000, 40_000)),
    st.tuples(st.floats(0.3, 2), st.floats(0.3, 2)),
)
@example([1191, 1045, 457, 309, 276, 105], 2, 10_000, (1.0, 1.0))
def test_never_do_rows_take_more_together_than_the_most(widths, lanes, room, times):
    means = Means(lanes=lanes, room=room, plain=Cost(0, 10, 0, 0), again=Cost(0, 2, 0, 0))
    batches = means.batches([row(str(i), width + 1) for i, width in enumerate(widths)])
    found = {False: times[0], True: times[1]}
    most, spans = probe.most_at_once(batches, means, found), probe._spans(batches, means)
    last = max(end for _, end, _ in spans)
    looked = [probe._taken(spans, last * step / 500, found) for step in range(500)]
    assert 0 < max(looked) <= most * (1 + 1e-6)
    for (begin, _, batch), (_, _, later) in pairwise(spans):
        assert batch.width >= later.width
        running = [one.bytes for _, _, one in probe._running(spans, begin)]
        assert len(running) <= lanes
        assert len(running) == 1 or room is None or sum(running) <= room


def test_a_thorough_plan_corrects_each_kind_of_rows_by_the_heaviest_of_its_own(model, monkeypatch):
    long, short = ROWS[:2], ROWS[2:]
    cost = {False: Cost(0, 2_000, 0, 0), True: Cost(0, 1_000, 0, 0)}
    means = Means(lanes=1, room=1_000_000, plain=cost[False], again=cost[True])
    batches = means.batches([*long, *short])
    assert {len(batch.rows[0].tokens): batch.again for batch in batches} == {1300: True, 700: True, 200: False}
    measured = []

    def three_times_and_half(lanes, model, tried):
        measured.extend((batch.width, batch.again) for batch in tried)
        return sum(batch.bytes * (0.5 if batch.again else 3) for batch in tried), 1.0

    def peak(seconds, thorough):
        measured.clear()
        trials = {again: probe.Costs(cost[again], Cost(seconds[again], 0, 0, 0)) for again in cost}
        of = probe.plan(model, [[*long, *short]], [], TrainSettings(), means, trials, thorough=thorough)
        return of.peak_bytes - mx.get_active_memory() - probe.COPIES * probe._adapter_bytes(model)

    monkeypatch.setattr(probe, "_measured", three_times_and_half)
    assert peak((1, 1), thorough=False) == 1_299_000
    assert measured == [(199, False)]
    assert peak((1, 1), thorough=True) == 3 * 398_000
    assert sorted(measured[1:]) == [(199, False), (1299, True)]
    assert peak((100, 1), thorough=True) == 1_299_000 / 2  # that of the others would take longer than a minute
    assert measured[1:] == [(1299, True)]


def test_rows_of_a_few_tokens_are_tried_as_they_are(model):
    means, trials = probe.resolve(model, [row("a", 9), row("b", 12)], TrainSettings())
    assert all(batch.bytes > 0 for batch in means.batches(ROWS))
    assert trials[False].seconds.of(1, 11, 2) >= 0


@pytest.mark.parametrize(("text", "size"), [("8GB", 8 * 2**30), ("7.5 GiB", 7.5 * 2**30), ("500m", 500 * 2**20)])
def test_sizes(text, size):
    assert machine.size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "8", "GB", "-1GB", "8GBs", "1e3GB", "nan"])
def test_no_sizes(text):
    with pytest.raises(UsageError, match="is no size"):
        machine.size_in_bytes(text)


def test_what_the_machine_has_to_give():
    assert machine.resident_bytes() < machine.usable_bytes() < machine.total_bytes()
