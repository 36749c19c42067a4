import random
import threading
import time
from dataclasses import replace

import mlx.core as mx
import pytest

from duomem_mlx import prompt
from duomem_mlx.student.heads import logits_at
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.training.budget import Means
from duomem_mlx.training.lanes import Lanes, _Room, computing
from duomem_mlx.training.lora import add_lora
from duomem_mlx.training.rows import make_epoch
from tests.student import tiny
from tests.training import made


@pytest.mark.parametrize("size", [100, None])
def test_room_is_never_overdrawn_but_by_one_alone(size):
    room, inside, seen, lock = _Room(size), [], [], threading.Lock()

    def work(seed):
        drawn = random.Random(seed)
        for _ in range(20):
            count = drawn.choice([5, 30, 60, 150])
            with room.taken(count):
                with lock:
                    inside.append(count)
                    seen.append(list(inside))
                time.sleep(0.0005)
                with lock:
                    inside.remove(count)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 80
    assert any(len(counts) > 1 for counts in seen)
    assert (size is None) == any(len(counts) > 1 and sum(counts) > 100 for counts in seen)


def test_who_fails_gives_room_back():
    room = _Room(10)
    for _ in range(2):
        with pytest.raises(ValueError, match="lost"), room.taken(10):
            raise ValueError("lost")
    assert room._taken == 0


def test_little_room_changes_no_number():
    model = made.model()
    add_lora(model, 4, 2.0, 0.0, (), -1, 0)
    write = make_writer(tiny.tokenizer(), prompt.COMPACT, "")
    rows = make_epoch([made.trajectory(i, turns=1 + i % 3) for i in range(5)], write, max_tokens=9999).rows
    batches = [replace(batch, bytes=7) for batch in Means().batches(rows)]
    logits, _ = logits_at(model)
    found = []
    for room in (None, 10, 14):
        lanes = Lanes(model, logits, 3, room)
        found.append(list(lanes.gradients(model.trainable_parameters(), batches, [0] * 5)))
        lanes.close()
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert one.loss == other.loss
            assert all(mx.array_equal(one.gradients[name], other.gradients[name]) for name in one.gradients)


def test_the_cache_is_as_large_as_means_say_and_as_before_afterwards():
    before = mx.set_cache_limit(12345678)
    try:
        with computing(made.model(), Means(cache=7654321)):
            assert mx.set_cache_limit(7654321) == 7654321
        assert mx.set_cache_limit(before) == 12345678
    finally:
        mx.set_cache_limit(before)
