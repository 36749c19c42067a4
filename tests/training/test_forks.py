"""Copies of a process that compute: what they answer, and what becomes of them when one side ends."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError
from duomem_mlx.student.heads import logits_at
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.training import checkpoint, forks
from duomem_mlx.training.budget import Means
from duomem_mlx.training.lanes import Lanes
from duomem_mlx.training.lora import add_lora
from duomem_mlx.training.rows import make_epoch
from tests.student import tiny
from tests.training import made, runs

pytestmark = pytest.mark.skipif(not forks.possible(), reason="processes are copied on Linux alone")


@pytest.fixture
def fork():
    begun = []

    def begin(answer):
        begun.append(forks.Fork(answer))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_arrays_are_seen_on_both_sides_bit_for_bit(fork, dtype):
    first = {"a": mx.random.normal((3, 5)).astype(dtype), "b": mx.random.normal((7,)).astype(dtype)}
    sent, back = forks.Shared(first), forks.Shared(first)
    doubled = fork(lambda: back.write({name: 2 * array for name, array in sent.read().items()}))
    for factor in (1, 3):
        arrays = {name: factor * array.astype(dtype) for name, array in first.items()}
        sent.write(arrays)
        doubled.ask()
        found = back.read()
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[name].dtype == dtype
            assert mx.array_equal(found[name], 2 * array)


def test_arrays_that_do_not_lie_in_one_piece_are_written_as_they_read():
    array = mx.arange(12, dtype=mx.float32).reshape(3, 4)
    place = forks.Shared({"a": array.T})
    place.write({"a": array.T})
    assert np.array_equal(np.array(place.read()["a"]), np.array(array.T))


def test_what_is_raised_there_is_raised_here_and_it_goes_on(fork):
    def halve(number):
        if number % 2:
            raise DuomemError("It is odd.", "Take another.")
        return number // 2

    one = fork(halve)
    with pytest.raises(DuomemError, match="It is odd"):
        one.ask(3)
    assert one.ask(4) == 2


def test_what_cannot_be_sent_back_is_told(fork):
    one = fork(lambda: lambda: None)
    with pytest.raises(RuntimeError, match="pickle"):
        one.ask()
    with pytest.raises(RuntimeError):
        one.ask()


def test_its_peak_is_of_arrays_beside_those_that_were_there(fork):
    there = mx.zeros((1 << 20,))
    mx.eval(there)
    one = fork(lambda size: mx.ones((size,)).sum().item())
    assert one.ask(1 << 18) == 1 << 18
    assert 1 << 20 <= one.peak_bytes < 1 << 21
    one.ask(1 << 16)
    assert one.peak_bytes >= 1 << 20


def test_one_that_was_ended_from_outside_is_told_with_what_to_do(fork):
    one = fork(os.getpid)
    os.kill(one.ask(), signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(DuomemError, match="has ended, perhaps for want of memory") as told:
            one.ask()
        assert "--overwrite" in str(told.value)
    one.close()
    one.close()


def test_it_can_be_closed_where_nobody_is_told_of_children(fork):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        one = fork(os.getpid)
        one.ask()
        one.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_ctrl_c_between_two_lives_is_not_the_copy_s(monkeypatch, fork):
    real = os.fork

    def and_pressed():
        process = real()
        if process == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return process

    monkeypatch.setattr(os, "fork", and_pressed)
    assert fork(lambda: 1).ask() == 1


def test_what_a_run_had_done_when_a_copy_was_lost_is_kept(tmp_path):
    def lose(now):
        if now.step == 3:
            raise forks.ForkLost("It has ended.", "Go on.")

    with pytest.raises(forks.ForkLost):
        runs.run(tmp_path / "lost", runs.SETTINGS, lose)
    kept = checkpoint.kept(tmp_path / "lost")
    assert kept is not None
    assert kept[0] in (2, 3)
    runs.run(tmp_path / "lost", runs.SETTINGS)
    runs.run(tmp_path / "whole", runs.SETTINGS)
    lost, whole = ((tmp_path / name / "adapters.safetensors").read_bytes() for name in ("lost", "whole"))
    assert lost == whole


def test_it_holds_no_lock_of_the_original(fork, tmp_path):
    file = (tmp_path / "lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    one = fork(os.getpid)
    one.ask()
    file.close()
    with (tmp_path / "lock").open("w") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_ctrl_c_is_for_the_original_alone(fork):
    one = fork(os.getpid)
    os.kill(one.ask(), signal.SIGINT)
    assert one.ask() > 0


ORPHAN = """
import os, signal
from duomem_mlx.training import checkpoint, forks
forks.Fork(lambda: 0)
second = forks.Fork(os.getpid)  # it must not keep the first one's pipe open
print(second.ask(), flush=True)
signal.pause()
"""


BUSY = """
import os, signal, time
from duomem_mlx.training import forks
one = forks.Fork(lambda wait: time.sleep(wait) or os.getpid())
print(one.ask(0), flush=True)
one.ask(600)
"""


@pytest.mark.parametrize("script", [ORPHAN, BUSY])
def test_it_ends_with_its_original(script):
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    ) as original:
        assert original.stdout is not None
        copy = int(original.stdout.readline())
        original.kill()
        until = time.monotonic() + 30
        while _runs(copy) and time.monotonic() < until:
            time.sleep(0.05)
        assert not _runs(copy)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except OSError:
        return False


def test_where_no_process_can_be_had_lanes_are_threads(monkeypatch):
    def full():
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", full)
    model = made.model()
    add_lora(model, 4, 2.0, 0.0, (), -1, 0)
    trajectories = [made.trajectory(i) for i in range(4)]
    rows = make_epoch(trajectories, make_writer(tiny.tokenizer(), prompt.COMPACT, ""), max_tokens=9999).rows
    lanes = Lanes(model, logits_at(model)[0], 3)
    assert not lanes._elsewhere
    assert len(list(lanes.losses(model.trainable_parameters(), Means().batches(rows)))) == 4
    lanes.close()


def test_lanes_elsewhere_give_the_numbers_of_one_here_and_end_with_it():
    model = made.model("qwen3")
    add_lora(model, 4, 2.0, 0.3, (), -1, 0)
    model.train()
    rows = make_epoch(
        [made.trajectory(i, turns=1 + i % 3) for i in range(6)],
        make_writer(tiny.tokenizer(), prompt.COMPACT, ""),
        max_tokens=9999,
    ).rows
    batches, weights = Means().batches(rows), model.trainable_parameters()
    found = []
    for count in (1, 3):
        lanes = Lanes(model, logits_at(model)[0], count)
        assert len(lanes._elsewhere) == count - 1
        parts = list(lanes.gradients(weights, batches, list(range(len(batches)))))
        losses = [part.loss for part in lanes.losses(weights, batches)]
        assert (lanes.peak_bytes > mx.get_peak_memory()) == (count > 1)
        found.append((parts, losses))
        lanes.close()
        assert all(not _runs(one.fork._process) for one in lanes._elsewhere)
    (alone, losses), (together, again) = found
    assert losses == again
    for one, other in zip(alone, together, strict=True):
        assert one.loss == other.loss
        assert all(mx.array_equal(one.gradients[name], other.gradients[name]) for name in one.gradients)
