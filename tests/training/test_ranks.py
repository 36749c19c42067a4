import json
import os
import random
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.training import checkpoint
from duomem_mlx.training.budget import Means
from duomem_mlx.training.loop import plan_steps, read_metrics
from duomem_mlx.training.ranks import Ranks
from tests.training import ranked, runs

ROOT = Path(__file__).parents[2]


def launch(what, folder):
    """`tests.training.ranked` on two ranks of MLX's ring."""
    folder.mkdir(exist_ok=True)
    launcher = [sys.executable, str(Path(sys.executable).with_name("mlx.launch")), "--backend", "ring", "-n", "2"]
    call = [sys.executable, "-m", "tests.training.ranked", what, str(folder)]
    call = [*launcher, "--starting-port", str(free_port()), "--", *call]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        call, env=environment, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
    )


def last_words(file):
    """What a rank wrote as the last thing it did: the launcher does not wait for one that it ends."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if file.is_file() and (text := file.read_text()):
            return text
        time.sleep(0.05)
    pytest.fail(f"{file} was not written")


def free_port():
    """The first of two that are free, below those that the system gives to whoever asks for any."""
    while True:
        port = random.SystemRandom().randrange(20000, 30000, 2)
        with suppress(OSError), socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", port))
            two.bind(("127.0.0.1", port + 1))
            return port


@given(costs=st.lists(st.integers(1, 2000), max_size=20), count=st.integers(1, 5))
def test_every_piece_of_work_is_one_rank_s(costs, count):
    shares = [Ranks(number, count).share(costs) for number in range(count)]
    assert sorted(i for share in shares for i in share) == list(range(len(costs)))
    loads = [sum(costs[i] for i in share) for share in shares]
    assert max(loads) - min(loads) <= max(costs, default=0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    ranked.sums(folder)
    launch("sums", folder)
    return folder


def test_the_ranks_of_the_test_have_unequal_shares():
    _, prepared, _ = runs.ready(ranked.PLAIN)
    batches = Means().batches(plan_steps(prepared.epochs, ranked.PLAIN)[0])
    costs = [batch.width for batch in batches]
    supervised = [sum(batches[i].supervised for i in Ranks(number, 2).share(costs)) for number in (0, 1)]
    assert supervised[0] != supervised[1]


def of(folder, what, rank, count):
    return mx.load(str(folder / f"{what}-{rank}-of-{count}.safetensors"))


@pytest.mark.parametrize(("what", "tolerance"), [("gradients", 1e-5), ("weights", 1e-6)])
def test_two_ranks_compute_what_one_does(folders, what, tolerance):
    alone, *both = of(folders, what, 0, 1), of(folders, what, 0, 2), of(folders, what, 1, 2)
    for found in both:
        assert found.keys() == alone.keys()
        for name, array in alone.items():
            assert mx.abs(found[name] - array).max().item() <= tolerance * mx.abs(array).max().item(), name
    assert all(mx.array_equal(both[0][name], both[1][name]) for name in alone)


def test_two_ranks_validate_as_one_does(folders):
    losses = [json.loads((folders / f"loss-{r}-of-{n}.json").read_text()) for r, n in ((0, 1), (0, 2), (1, 2))]
    assert losses[1] == losses[2] == pytest.approx(losses[0], rel=1e-6)


def test_a_whole_run_of_two_ranks_and_one_that_lost_a_rank(tmp_path):
    ranked.train(tmp_path / "one")
    done = launch("train", tmp_path / "two")
    assert (tmp_path / "two" / "metrics.jsonl").is_file(), done.stderr
    losses = [[line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("one", "two")]
    assert len(losses[0]) == len(losses[1]) == ranked.SHORT.iters
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)

    lost = tmp_path / "lost"
    launch("lose", lost)
    told = last_words(lost / "told")
    assert "Another rank has ended, so rank 0 cannot go on" in told or told == "KeyboardInterrupt()"
    assert checkpoint.kept(lost)[0] in (2, 3)
    launch("train", lost)
    name = "adapters.safetensors"
    assert (lost / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_ranks_that_were_called_differently_refuse(tmp_path):
    done = launch("differ", tmp_path / "run")
    assert "Rank 1 has another learning_rate than rank 0." in done.stderr
    assert not (tmp_path / "run" / "adapters.safetensors").exists()
