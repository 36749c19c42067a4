import json
import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.training import checkpoint, loop, probe
from duomem_mlx.training.budget import Means
from duomem_mlx.training.fit import fit, is_finished, prepare
from duomem_mlx.training.loop import learning_rate, plan_steps, read_metrics
from duomem_mlx.training.rows import Epoch, Row
from duomem_mlx.training.settings import TrainSettings
from tests.student import tiny
from tests.training import made, runs

SETTINGS = runs.SETTINGS
ADAPTER = ("adapter_config.json", "adapters.safetensors", "duomem.json")


def row(name, length):
    trained = np.zeros(length, bool)
    trained[-2:] = True
    return Row(name, np.arange(length, dtype=np.int32) % 250, trained)


lengths = st.lists(st.integers(3, 60), min_size=1, max_size=30)


@given(lengths=lengths, batch=st.integers(1, 9), passes=st.integers(1, 3), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_pass_trains_every_row_once(lengths, batch, passes, seed):
    rows = tuple(row(str(i), length) for i, length in enumerate(lengths))
    chosen = replace(SETTINGS, batch_size=batch, seed=seed, iters=None)
    steps = plan_steps([Epoch(rows)] * passes, chosen)
    each = math.ceil(len(rows) / batch)
    assert len(steps) == passes * each
    for number in range(passes):
        assert Counter(r.id for s in steps[number * each : (number + 1) * each] for r in s) == Counter(
            r.id for r in rows
        )
    assert plan_steps([Epoch(rows)] * passes, replace(chosen, iters=2)) == steps[:2]


def test_the_learning_rate_warms_up_and_falls():
    chosen = TrainSettings(learning_rate=1.0, warmup_steps=10)
    rates = [learning_rate(step, 100, chosen) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.05 <= rates[-1] < 0.06
    assert learning_rate(0, 1, chosen) == 1.0
    assert learning_rate(0, 20, chosen) == 0.5


def test_training_lowers_the_loss_and_the_held_out_loss(tmp_path):
    told = []
    runs.run(tmp_path, replace(SETTINGS, iters=40, learning_rate=0.02, eval_every=5), told.append)
    assert told[-1].loss < 0.5 * told[0].loss
    validated = [one.held_out_loss for one in told if one.held_out_loss is not None]
    assert len(validated) == 8
    assert min(validated) < 0.7 * validated[0]
    assert [one.step for one in told] == list(range(1, 41))
    assert told[-1].seconds_left == 0
    assert told[0].steps == 40
    assert told[0].peak_bytes > 0
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["loss"] for line in lines] == [one.loss for one in told]
    record = json.loads((tmp_path / "duomem.json").read_text())
    assert record["figures"]["held_out_loss"] == min(validated)
    assert record["figures"]["best_step"] == 5 * (1 + validated.index(min(validated)))
    assert record["prompt_style"] == prompt.COMPACT
    assert not (tmp_path / checkpoint.NAME).exists()
    assert is_finished(tmp_path)


def test_a_step_is_adamw_on_the_mean_over_all_supervised_tokens(tmp_path):
    """Against one plain loss over the whole batch, MLX's optimizer and MLX's clipping."""
    from mlx.optimizers import AdamW, clip_grad_norm
    from mlx.utils import tree_flatten

    from tests.training.test_loss import plainly

    chosen = replace(
        SETTINGS, iters=3, learning_rate=1e-3, max_grad_norm=0.1, weight_decay=0.1, held_out=0.0, dropout=0.0
    )
    student, prepared, config = runs.ready(chosen)
    outcome = fit(student, config, prepared, chosen, tmp_path)
    model = runs.ready(chosen)[0].model
    optimizer = AdamW(0.0, weight_decay=0.1, bias_correction=True)
    steps = plan_steps(prepared.epochs, chosen)
    for number, rows in enumerate(steps):
        loss, gradients = plainly(model, rows)
        clipped, _ = clip_grad_norm(gradients, 0.1)
        optimizer.learning_rate = learning_rate(number, len(steps), chosen)
        weights = dict(tree_flatten(model.trainable_parameters()))
        model.load_weights(list(optimizer.apply_gradients(clipped, weights).items()), strict=False)
        assert read_metrics(tmp_path / "metrics.jsonl")[number]["loss"] == pytest.approx(loss, rel=1e-5)
    for name, array in tree_flatten(model.trainable_parameters()):
        assert mx.abs(array - outcome.weights[name]).max().item() < 2e-5, name


class Stop(BaseException):
    """A kill that nothing in the loop can catch."""


@pytest.mark.parametrize("at", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("how", [Stop, KeyboardInterrupt])
def test_stopped_and_resumed_gives_the_same_bytes(tmp_path, undisturbed, at, how):
    def stop(now):
        if now.step == at:
            raise how

    with pytest.raises(how):
        runs.run(tmp_path, SETTINGS, stop)
    assert not is_finished(tmp_path)
    if how is KeyboardInterrupt:
        assert (tmp_path / checkpoint.NAME).is_file()
    told = []
    runs.run(tmp_path, SETTINGS, told.append)
    assert told[0].step == (
        at if how is KeyboardInterrupt else (at - 1) // SETTINGS.save_every * SETTINGS.save_every + 1
    )
    for name in ADAPTER:
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes(), name
    ours, theirs = (read_metrics(folder / "metrics.jsonl") for folder in (tmp_path, undisturbed))
    assert [{**line, "seconds": 0} for line in ours] == [{**line, "seconds": 0} for line in theirs]


def test_means_are_kept_with_the_run_and_not_found_out_again(tmp_path, monkeypatch):
    def stop(now):
        raise Stop

    def again(*_):
        raise AssertionError

    chosen = replace(SETTINGS, grad_checkpoint=True)
    with pytest.raises(Stop):
        runs.run(tmp_path / "stopped", chosen, stop)
    step, means = checkpoint.kept(tmp_path / "stopped")
    assert step == 0
    assert means.recompute
    assert means.again is not None
    monkeypatch.setattr(probe, "resolve", again)
    runs.run(tmp_path / "stopped", chosen)
    student, prepared, config = runs.ready(chosen)
    fit(student, config, prepared, chosen, tmp_path / "whole", means=means)
    for name in ADAPTER:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(
    "means", [Means(lanes=2, most_tokens=900, coarse=True), Means(most_tokens=900, recompute=True)]
)
def test_resumed_rows_are_grouped_as_they_were(tmp_path, means):
    """As on a GPU, where several rows are computed together."""

    def stop(now):
        if now.step == 5:
            raise Stop

    student, prepared, config = runs.ready(SETTINGS)
    assert any(len(batch.rows) > 1 for rows in plan_steps(prepared.epochs, SETTINGS) for batch in means.batches(rows))
    with pytest.raises(Stop):
        fit(student, config, prepared, SETTINGS, tmp_path / "stopped", stop, means)
    for name, begins in (("stopped", Means()), ("whole", means)):  # what is handed in counts for a new run only
        student, prepared, config = runs.ready(SETTINGS)
        fit(student, config, prepared, SETTINGS, tmp_path / name, means=begins)
    for name in ADAPTER:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_when_time_is_up_an_adapter_is_left_and_the_run_can_go_on(tmp_path, undisturbed):
    student, prepared, config = runs.ready(SETTINGS)
    for done in range(1, 5):
        outcome = fit(student, config, prepared, SETTINGS, tmp_path, until=0.0)
        assert (outcome.finished, outcome.steps) == (False, done)
        assert not is_finished(tmp_path)
        assert outcome.held_out_loss is not None
        record = json.loads((tmp_path / "duomem.json").read_text())
        assert (record["figures"]["steps"], record["figures"]["planned_steps"]) == (done, 8)
        stored = mx.load(str(tmp_path / "adapters.safetensors"))
        assert all(mx.array_equal(stored[name], array) for name, array in outcome.weights.items())
        student, prepared, config = runs.ready(SETTINGS)
    assert fit(student, config, prepared, SETTINGS, tmp_path).finished
    for name in ADAPTER:
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes(), name


@pytest.mark.parametrize("stopped", [False, True])
def test_a_run_that_gains_nothing_ends_and_keeps_its_best(tmp_path, stopped):
    chosen = replace(SETTINGS, learning_rate=0.5, iters=30, eval_every=2, patience=2)  # far too high
    told = []

    def stop(now):
        told.append(now)
        if stopped and len(told) == 5:
            raise Stop

    if stopped:
        with pytest.raises(Stop):
            runs.run(tmp_path, chosen, stop)
    runs.run(tmp_path, chosen, stop)
    figures = json.loads((tmp_path / "duomem.json").read_text())["figures"]
    validated = {now.step: now.held_out_loss for now in told if now.held_out_loss is not None}
    assert figures["held_out_loss"] == min(validated.values()) == validated[figures["best_step"]]
    assert figures["steps"] == figures["best_step"] + 4 < figures["planned_steps"] == 30
    assert is_finished(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    runs.run(folder, SETTINGS)
    return folder


KILLS = [
    (1, ""),
    (3, ""),
    (4, checkpoint.NAME),
    (5, ""),
    (8, checkpoint.NAME),
    (8, "adapters.safetensors"),
    (0, "adapter_config.json"),
    (0, "duomem.json"),
]


def test_killed_for_good_and_resumed_gives_the_same_bytes(tmp_path):
    """SIGKILL from within: after steps, and inside the writing of every file. All runs are processes of one kind: how
    many threads a product uses decides its last bits."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}

    def run(folder, at, writing):
        call = [sys.executable, "-m", "tests.training.runs", str(folder), str(at), writing]
        return subprocess.run(call, env=environment, check=False).returncode

    assert run(tmp_path / "whole", 99, "") == 0
    stopped = tmp_path / "stopped"
    for at, writing in [*KILLS, (99, "")]:
        assert run(stopped, at, writing) == (0 if at == 99 else -9), (at, writing)
        assert is_finished(stopped) == (at == 99)
    for name in ADAPTER:
        assert (stopped / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_checkpoint_is_not_read_from_the_file_that_is_being_replaced(tmp_path):
    state = checkpoint.State(1, {"a": mx.ones((1000,))}, {"step": mx.array(1)})
    checkpoint.save(tmp_path, state, {})
    loaded = checkpoint.load(tmp_path, {})
    (tmp_path / checkpoint.NAME).write_bytes(bytes((tmp_path / checkpoint.NAME).stat().st_size))
    assert mx.array_equal(loaded.weights["a"], mx.ones((1000,)))
    assert loaded.step == 1


def test_another_run_s_checkpoint_is_refused_by_what_differs(tmp_path):
    def stop(now):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run(tmp_path, SETTINGS, stop)
    before = (tmp_path / checkpoint.NAME).read_bytes()
    with pytest.raises(DuomemError, match="another learning_rate\\."):
        runs.run(tmp_path, replace(SETTINGS, learning_rate=0.5))
    with pytest.raises(DuomemError, match="another set of rows\\."):
        runs.run(tmp_path, SETTINGS, count=11)
    assert (tmp_path / checkpoint.NAME).read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", "half"])
def test_a_torn_checkpoint_is_one_sentence(tmp_path, damage):
    checkpoint.save(tmp_path, checkpoint.State(1, {"a": mx.ones((1000,))}, {"step": mx.array(1)}), {})
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:2000] if damage == "half" else damage)
    with pytest.raises(DuomemError, match=r"cannot be read .*--overwrite"):
        checkpoint.load(tmp_path, {})


@pytest.mark.parametrize(("version", "told"), [(-1, "older version.* --overwrite"), (1, "newer version")])
def test_a_checkpoint_of_another_version_is_one_sentence(tmp_path, monkeypatch, version, told):
    with monkeypatch.context() as then:
        then.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + version)
        checkpoint.save(tmp_path, checkpoint.State(1, {"a": mx.ones((2,))}, {"step": mx.array(1)}), {})
    with pytest.raises(DuomemError, match=told):
        checkpoint.load(tmp_path, {})


def test_a_number_that_is_not_finite_stops_the_run_and_names_the_row(tmp_path):
    student, prepared, _ = runs.ready(SETTINGS, family="llama untied")  # a tied head would show the token to all
    steps = plan_steps(prepared.epochs, SETTINGS)
    guilty = steps[2][1]
    token = 57  # its embedding is spoilt; only the guilty row may hold it
    assert not any((r.tokens == token).any() for rows in steps for r in rows)
    spoilt = replace(guilty, tokens=np.concatenate([[token], guilty.tokens[1:]]).astype(np.int32))
    epochs = [Epoch(tuple(spoilt if r.id == guilty.id else r for r in prepared.epochs[0].rows))]
    embedding = student.model.model.embed_tokens
    embedding.weight = mx.where(mx.arange(embedding.weight.shape[0])[:, None] == token, mx.nan, embedding.weight)
    mx.eval(student.model.parameters())
    told = []
    with pytest.raises(DuomemError, match=rf"Step 3: .* not a finite number, in trajectory {guilty.id}\."):
        loop.train(student.model, epochs, [], SETTINGS, tmp_path, {}, told.append)
    assert [now.step for now in told] == [1, 2]


def test_a_learning_rate_that_leaves_no_numbers_ends_in_no_adapter(tmp_path):
    with pytest.raises(DuomemError, match=r"Step 1: a learning rate of 1e\+39 .*Lower --learning-rate"):
        runs.run(tmp_path, replace(SETTINGS, learning_rate=1e39, iters=1))
    assert not (tmp_path / "duomem.json").exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan"),
        ({"learning_rate": float("inf")}, "--learning-rate is inf"),
        ({"weight_decay": float("nan")}, "--weight-decay is nan"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**64}, "--seed is 18446744073709551616"),
        ({"dropout": 1.0}, "--dropout is 1.0"),
        ({"rank": 0}, "--rank is 0"),
        ({"prompt_style": "poem"}, "--prompt-style is poem"),
    ],
)
def test_senseless_settings_are_named(wrong, words):
    with pytest.raises(UsageError, match=words):
        TrainSettings(**wrong)


def test_nothing_to_train_on_is_said():
    write = make_writer(tiny.tokenizer(), prompt.COMPACT, "")
    with pytest.raises(UsageError, match="no trajectories"):
        prepare([], write, SETTINGS)


def test_iters_decide_the_passes():
    write = make_writer(tiny.tokenizer(), prompt.COMPACT, "")
    many = [made.trajectory(i) for i in range(10)]
    chosen = replace(SETTINGS, held_out=0.0, batch_size=4, iters=7)
    prepared = prepare(many, write, chosen)
    assert len(prepared.epochs) == 3
    assert len(plan_steps(prepared.epochs, chosen)) == 7
    assert prepared.tokens(chosen) < sum(epoch.tokens for epoch in prepared.epochs)


def test_only_the_last_blocks_are_trained(tmp_path):
    chosen = replace(SETTINGS, num_layers=1, iters=2)
    student, prepared, config = runs.ready(chosen)
    outcome = fit(student, config, prepared, chosen, tmp_path)
    assert {name.split(".")[2] for name in outcome.weights} == {"1"}
    assert config["num_layers"] == 1
