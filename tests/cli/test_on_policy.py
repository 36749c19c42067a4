"""`train --on-policy` and `train --adapter`, as a user calls them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from duomem_mlx.cli.main import app, status
from duomem_mlx.paths import alone_in
from duomem_mlx.student.adapters import identity, taught_by
from duomem_mlx.trajectory import append_trajectory, read_trajectories
from tests.cli.test_train import ADAPTER, REPO
from tests.training import guided, made

WORLD = "tests.training.guided:Watched"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return made.save_base(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def taught(tmp_path):
    file = tmp_path / "trajectories.jsonl"
    for one in guided.taught(range(24)):
        append_trajectory(file, one)
    return file


def words(base, *more, world=WORLD):
    fixed = ["--model", base, "--env", world, "--prompt-style", "compact-1", "--memories", "none"]
    return ["train", *map(str, [*more, *fixed, "--batch-size", "4", "--held-out", "0.3"])]


def train(base, *more, world=WORLD):
    return status(lambda: app(words(base, *more, world=world)))


ROUNDS = ("--rank", 2, "--on-policy", 2, "--on-policy-games", 5)


def test_the_student_plays_and_no_held_out_place_is_seen(base, taught, tmp_path, capsys):
    guided.OPENED.clear()
    assert train(base, taught, *ROUNDS, "--out", tmp_path / "run", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["adapter"] == str(tmp_path / "run")
    assert "round 2 of 2" in err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*ADAPTER, "config.json", "rounds"}
    record = json.loads((tmp_path / "run" / "rounds" / "0" / "duomem.json").read_text())
    assert record["data"]["held_out"] > 0
    world = guided.Guided()
    games = {one.game for one in read_trajectories(taught)}
    played = [one.game for n in "12" for one in read_trajectories(tmp_path / "run" / "rounds" / n)]
    assert len(played) == 10
    assert set(played) <= games
    places = {world.place(game) for game in games}
    assert played == guided.OPENED
    by_place = {place: sum(world.place(game) == place for game in games) for place in places}
    never = places - {world.place(game) for game in guided.OPENED}
    assert never
    assert sum(by_place[place] for place in never) == record["data"]["held_out"]
    # Done is done.
    assert train(base, taught, *ROUNDS, "--out", tmp_path / "run") == 0
    assert "finished" in capsys.readouterr().err
    assert played == guided.OPENED
    # Another number of rounds is another run; it takes the folder only when told to.
    other = ("--rank", 2, "--on-policy", 1, "--on-policy-games", 5, "--out", tmp_path / "run")
    assert train(base, taught, *other) == 2
    assert "other on_policy" in capsys.readouterr().err
    assert train(base, taught, *other, "--overwrite") == 0
    assert sorted(path.name for path in (tmp_path / "run" / "rounds").iterdir()) == ["0", "1"]


@pytest.mark.parametrize(
    ("more", "world", "said"),
    [
        (["--on-policy", 1], "tests.teachers.corridor:Unteachable", "corridors has none"),
        (["--on-policy", 1], "tests.training.made:Shelves", "shelves has none"),
        (["--on-policy-games", 9], WORLD, "Add --on-policy"),
        (["--adapter", "nowhere"], WORLD, "There is no adapter 'nowhere'"),
    ],
)
def test_what_cannot_be_is_one_sentence(base, taught, tmp_path, capsys, more, world, said):
    assert train(base, taught, *more, "--out", tmp_path / "run", world=world) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_when_time_is_up_an_adapter_is_there_and_the_same_call_goes_on(base, taught, tmp_path, capsys):
    call = (*ROUNDS, "--out", tmp_path / "run")
    assert train(base, taught, *call, "--max-hours", 0, "--json") == 0
    assert json.loads(capsys.readouterr().out)["finished"] is False
    assert (tmp_path / "run" / "adapters.safetensors").is_file()
    assert train(base, taught, *call, "--json") == 0
    assert json.loads(capsys.readouterr().out)["finished"] is True
    assert train(base, taught, *ROUNDS, "--out", tmp_path / "whole") == 0
    for name in ADAPTER:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_training_goes_on_from_an_adapter(base, taught, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(base, taught, "--rank", 3, "--iters", 9, "--learning-rate", 0.02, "--out", first) == 0
    assert train(base, taught, "--adapter", first, "--iters", 3, "--learning-rate", 1e-9, "--out", second) == 0
    losses = [[json.loads(line)["loss"] for line in (f / "metrics.jsonl").open()] for f in (first, second)]
    assert max(losses[1]) < 0.9 * losses[0][0]
    config = json.loads((second / "adapter_config.json").read_text())
    assert config == json.loads((first / "adapter_config.json").read_text())
    import mlx.core as mx

    before, after = (mx.load(str(f / "adapters.safetensors")) for f in (first, second))
    assert before.keys() == after.keys()
    assert all(mx.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert json.loads((second / "duomem.json").read_text())["begun_from"] == identity(first)
    assert taught_by(second) == ["guide"]
    # What nobody knows of the first stays unknown of the second. And mlx-lm's word for it names the file.
    record = json.loads((first / "duomem.json").read_text())
    del record["data"]
    (first / "duomem.json").write_text(json.dumps(record))
    third = tmp_path / "third"
    told = ("--resume-adapter-file", first / "adapters.safetensors", "--iters", 3, "--learning-rate", 1e-9)
    assert train(base, taught, *told, "--out", third) == 0
    assert (third / "adapters.safetensors").read_bytes() == (second / "adapters.safetensors").read_bytes()
    assert taught_by(third) == ["guide", "unknown"]
    # What decides the outcome decides whether a run is the same.
    capsys.readouterr()
    assert train(base, taught, "--adapter", second, "--iters", 3, "--learning-rate", 1e-9, "--out", third) == 2
    assert "other adapter_hash" in capsys.readouterr().err
    assert train(base, taught, "--adapter", first, "--rank", 4, "--out", tmp_path / "fourth") == 2
    assert "keeps its own rank" in capsys.readouterr().err


def test_rounds_alone_begin_from_the_adapter_as_it_is(base, taught, tmp_path, capsys):
    first, run = tmp_path / "first", tmp_path / "run"
    assert train(base, taught, "--rank", 2, "--iters", 9, "--out", first) == 0
    rounds = ("--on-policy", 1, "--on-policy-games", 5)
    assert train(base, taught, "--adapter", first, "--epochs", 0, *rounds, "--out", run) == 0
    for name in ADAPTER:
        if name != "metrics.jsonl":
            assert (run / "rounds" / "0" / name).read_bytes() == (first / name).read_bytes()
    assert len(list(read_trajectories(run / "rounds" / "1"))) == 5
    made = (run / "adapters.safetensors").read_bytes()
    assert taught_by(first) == ["guide"]
    assert taught_by(run) == ["guide", "search"], "the adapter's own and the one who read along"
    assert train(base, taught, "--adapter", first, "--epochs", 0, *rounds, "--out", run) == 0
    assert "is finished" in capsys.readouterr().err
    assert (run / "adapters.safetensors").read_bytes() == made
    for words in (["--adapter", first], rounds, ["--adapter", first, *rounds, "--plan"]):
        assert train(base, taught, *words, "--epochs", 0, "--out", tmp_path / "none") == 2
        assert not (tmp_path / "none").exists()


def test_an_adapter_of_another_base_is_refused(base, taught, tmp_path, capsys):
    other = made.save_base(tmp_path / "other", "qwen3")
    assert train(base, taught, "--rank", 2, "--iters", 1, "--out", tmp_path / "first") == 0
    assert train(other, taught, "--adapter", tmp_path / "first", "--out", tmp_path / "run") == 2
    assert "for another base" in capsys.readouterr().err


def test_rounds_that_another_process_plays_are_left_alone(base, taught, tmp_path, capsys):
    call = [taught, *ROUNDS, "--iters", 2, "--out", tmp_path / "run"]
    assert train(base, *call) == 0
    (tmp_path / "run" / "duomem.json").unlink()
    with alone_in(tmp_path / "run"):
        assert train(base, *call) == 1
        assert "Another process writes into" in capsys.readouterr().err
    assert train(base, *call) == 0


def test_killed_and_stopped_among_the_rounds_the_same_call_goes_on(base, taught, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPO)}

    def call(out):
        return [sys.executable, "-m", "duomem_mlx", *words(base, taught, *ROUNDS, "--iters", 40, "--out", out)]

    def stopped(how, file):
        running = subprocess.Popen(call("stopped"), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        limit = time.monotonic() + 120
        while time.monotonic() < limit and running.poll() is None and not (tmp_path / "stopped" / file).is_file():
            time.sleep(0.01)
        running.send_signal(how)
        _, err = running.communicate(timeout=120)
        assert "Traceback" not in err
        assert not (tmp_path / "stopped" / "duomem.json").exists()
        return running.returncode

    assert stopped(signal.SIGKILL, "rounds/0/metrics.jsonl") == -signal.SIGKILL
    assert stopped(signal.SIGINT, "rounds/1/trajectories.jsonl") == 130
    assert stopped(signal.SIGKILL, "rounds/2/trajectories.jsonl") == -signal.SIGKILL
    for out in ("stopped", "whole"):
        subprocess.run(call(out), cwd=tmp_path, env=environment, check=True, capture_output=True)
    for name in [*ADAPTER, *(f"rounds/{n}/{name}" for n in "012" for name in ADAPTER)]:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    ours, theirs = ({str(p.relative_to(f)) for p in f.rglob("*")} for f in (tmp_path / "stopped", tmp_path / "whole"))
    assert ours == theirs
