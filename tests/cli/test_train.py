import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from duomem_mlx.cli import output
from duomem_mlx.cli.main import app, status
from duomem_mlx.trajectory import append_trajectory
from tests.training import made
from tests.training.test_ranks import free_port

WORLD = "tests.training.made:Shelves"
REPO = Path(__file__).parents[2]
ADAPTER = ("adapter_config.json", "adapters.safetensors", "duomem.json")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return made.save_base(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def taught(tmp_path):
    file = tmp_path / "trajectories.jsonl"
    for number in range(10):
        append_trajectory(file, made.trajectory(number, won=number != 3, refused=(0,) if number == 4 else ()))
    return file


def words(base, *more):
    fixed = ["--model", str(base), "--env", WORLD, "--prompt-style", "compact-1", "--memories", "none", "--rank", "2"]
    return ["train", *map(str, more), *fixed, "--batch-size", "4", "--held-out", "0.3"]


def train(base, *more):
    return status(lambda: app(words(base, *more)))


def test_an_adapter_is_trained_and_the_next_command_named(base, taught, tmp_path, capsys):
    assert train(base, taught, "--out", tmp_path / "run", "--epochs", 2) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*ADAPTER, "config.json", "metrics.jsonl"}
    assert "9 of 10 trajectories are used" in err
    assert "epochs 2   (this call)" in err
    assert f"duomem-mlx evaluate --adapter {tmp_path / 'run'} --model {base} --memories none --env {WORLD}" in err
    record = json.loads((tmp_path / "run" / "duomem.json").read_text())
    assert record["settings"]["epochs"] == 2
    assert record["data"]["trajectories"] + record["data"]["held_out"] == 9
    assert record["k"] == 0


def test_the_same_call_again_trains_nothing(base, taught, tmp_path, capsys):
    assert train(base, taught, "--out", tmp_path / "run", "--json") == 0
    first = json.loads(capsys.readouterr().out)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    assert train(base, taught, "--out", tmp_path / "run", "--json") == 0
    out, err = capsys.readouterr()
    assert "finished" in err
    assert {**json.loads(out), "seconds": 0} == {**first, "seconds": 0}
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before


def test_another_call_does_not_touch_it(base, taught, tmp_path, capsys):
    assert train(base, taught, "--out", tmp_path / "run") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    capsys.readouterr()
    assert train(base, taught, "--out", tmp_path / "run", "--learning-rate", "0.5") == 2
    assert "learning_rate" in capsys.readouterr().err
    append_trajectory(taught, made.trajectory(77))
    assert train(base, taught, "--out", tmp_path / "run") == 2
    assert "other trajectories" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_plan_says_what_it_takes_and_writes_nothing(base, taught, tmp_path, capsys):
    assert train(base, taught, "--out", tmp_path / "run", "--plan", "--json", "--ram", "3GB") == 0
    out, err = capsys.readouterr()
    plan = json.loads(out)
    assert plan["steps"] == 2
    assert plan["hours"] > 0
    assert 0 < plan["peak_bytes"] < plan["resident_bytes"] < plan["ram_bytes"] == 3 * 2**30
    assert plan["disk_bytes"] > 0
    assert "ram 3 GB   (this call)" in err
    assert not (tmp_path / "run").exists()


def test_the_time_is_up_and_the_same_call_goes_on(base, taught, tmp_path, capsys):
    call = [base, taught, "--epochs", 2, "--max-hours", 0, "--json", "--out"]
    assert train(*call, tmp_path / "run") == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["finished"], first["steps"]) == (False, 1)
    assert {path.name for path in (tmp_path / "run").iterdir()} >= set(ADAPTER)
    assert train(base, taught, "--epochs", 2, "--out", tmp_path / "run", "--plan", "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == first["planned_steps"] - 1
    assert train(base, taught, "--epochs", 2, "--out", tmp_path / "run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["finished"]
    assert train(base, taught, "--epochs", 2, "--out", tmp_path / "whole") == 0
    for name in ADAPTER:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_rows_are_shown_with_what_is_trained_marked(base, taught, capsys):
    assert train(base, taught, "--show-rows", 2) == 0
    out = capsys.readouterr().out
    assert out.count("tokens,") == 2
    assert ">⟦ go to shelf" in out
    assert "⟧On shelf" in out
    assert "⟦On" not in out


def test_rows_are_one_json_object_when_asked_for(base, taught, capsys):
    assert train(base, taught, "--show-rows", 2, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [sorted(row) for row in shown["rows"]] == [["id", "spans", "tokens", "trained"]] * 2
    trained = "".join(text for text, is_trained in shown["rows"][0]["spans"] if is_trained)
    assert trained.startswith(" go to shelf")


def test_on_a_terminal_what_is_trained_is_green_and_the_text_gives_no_orders(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("duomem_mlx.cli.output.typer.echo", print)
    output.marked([("a \x1b[31mroom\n>", False), (" go\x1b[0m\n", True), ("on", False)])
    assert capsys.readouterr().out == "a \\x1b[31mroom\n>\x1b[32m go\\x1b[0m\n\x1b[0mon\n"


def test_of_several_processes_one_shows_rows(monkeypatch, capsys):
    monkeypatch.setattr(output, "_muted", True)
    output.line("— a row: 3 tokens, 1 trained")
    output.marked([("take", True)])
    assert capsys.readouterr() == ("", "")


def test_qwen3_s_rows_are_shown_through_its_own_template(qwen3_tokenizer, taught, tmp_path, monkeypatch, capsys):
    vocabulary = {**made.FAMILIES["qwen3"], "vocab_size": 151_936, "tie_word_embeddings": True}
    monkeypatch.setitem(made.FAMILIES, "qwen3 whole", vocabulary)
    base = made.save_base(tmp_path / "qwen3", "qwen3 whole")
    qwen3_tokenizer._tokenizer.save_pretrained(base)
    assert status(lambda: app([*words(base, taught, "--show-rows", 1), "--prompt-style", "chat"])) == 0
    out, err = capsys.readouterr()
    assert "⟦Action: go to shelf 0<|im_end|>⟧\n<|im_start|>user\nOn shelf 0" in out
    assert "<think>\n\n</think>\n\n⟦Thought: It may be on shelf 1.\nAction:" in out
    assert out.count("⟦") == 3
    assert "empty thought; here it stays" in err


def test_a_settings_file_is_read_and_the_call_wins(base, taught, tmp_path, capsys):
    file = tmp_path / "settings.yaml"
    file.write_text("learning_rate: 1e-4\niters: 1\nlora_parameters: {scale: 7, keys: [self_attn.q_proj]}\n")
    assert train(base, taught, "--out", tmp_path / "run", "-c", file, "--iters", 2) == 0
    err = capsys.readouterr().err
    assert "learning_rate 0.0001   (the file)" in err
    assert "iters 2   (this call)" in err
    config = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert config["lora_parameters"] == {"rank": 2, "scale": 7.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rat: 1", "unknown settings: learning_rat"),
        ("epochs: many", "epochs is 'many'"),
        ("epochs: 1.5", "epochs is 1.5"),
        ("half: 1", "half is 1"),
        ("- a list", "holds no settings"),
        ("a: [", "is not YAML"),
        ("eval_every: 0", "--eval-every is 0"),
        ("ram: much", "'much' is no size"),
        ("iters: .inf", "iters is inf. It is to be a whole number."),
        ("learning_rate: true", "learning_rate is True. It is to be a number."),
        ("targets: 5", "targets is 5. It is to be names."),
        ("grad_checkpoint: 1", "grad_checkpoint is 1"),
    ],
)
def test_a_wrong_settings_file_is_one_sentence(base, taught, tmp_path, capsys, text, said):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    assert train(base, taught, "--out", tmp_path / "run", "-c", file) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "exit_status", "said"),
    [
        (["--targets", "c_attn"], 2, "No layer is called 'c_attn'"),
        (["--num-layers", "9"], 2, "--num-layers is 9"),
        (["--max-seq-length", "30"], 1, "Set --max-seq-length"),
        (["-c", "nowhere.yaml"], 2, "cannot be read"),
        (["--ram", "lots"], 2, "'lots' is no size"),
        (["--ram", "9000TB"], 2, "the machine has"),
        (["--ram", "100KB"], 1, "does not fit into 0.0 GB"),
        (["--env", "household"], 2, "are of shelves, not of household"),
        (["--iters", "20000000"], 2, "passes over"),
        (["--iters", "3", "--epochs", "2"], 2, "Both --iters and --epochs"),
        (["--held-out", "0", "--patience", "3"], 2, "--patience counts validations"),
    ],
)
def test_what_cannot_be_is_one_sentence(base, taught, tmp_path, capsys, more, exit_status, said):
    rest = words(base, taught, "--out", tmp_path / "run")
    assert status(lambda: app([*rest, *more])) == exit_status
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_names_of_targets_may_stand_apart(base, taught, tmp_path):
    assert train(base, taught, "--out", tmp_path / "run", "--iters", 1, "--targets", "q_proj, v_proj") == 0
    config = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert config["lora_parameters"]["keys"] == ["self_attn.q_proj", "self_attn.v_proj"]


def test_no_trajectories_at_all(base, tmp_path, capsys):
    assert train(base, tmp_path / "nothing.jsonl") == 2
    lost = tmp_path / "lost.jsonl"
    append_trajectory(lost, made.trajectory(1, won=False))
    assert train(base, lost) == 2
    err = capsys.readouterr().err
    assert "There are no trajectories" in err
    assert "None of 1 trajectories was won" in err


def test_ctrl_c_saves_and_the_same_call_goes_on(base, taught, tmp_path):
    call = [sys.executable, "-m", "duomem_mlx", *words(base, taught, "--out", "stopped", "--iters", 150)]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    running = subprocess.Popen(call, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    limit = time.monotonic() + 120
    while time.monotonic() < limit and not (metrics.is_file() and len(metrics.read_text().splitlines()) > 2):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert "the same command again goes on" in err
    done = len(metrics.read_text().splitlines())
    assert 2 < done < 150
    assert not (tmp_path / "stopped" / "duomem.json").exists()
    subprocess.run(call, cwd=tmp_path, env=environment, check=True, capture_output=True)
    call[call.index("stopped")] = "whole"
    subprocess.run(call, cwd=tmp_path, env=environment, check=True, capture_output=True)
    for name in ADAPTER:
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_two_ranks_train_and_one_speaks(base, taught, tmp_path):
    launcher = [sys.executable, str(Path(sys.executable).with_name("mlx.launch")), "-n", "2", "--backend", "ring"]
    call = [sys.executable, "-m", "duomem_mlx", *words(base, taught, "--out", tmp_path / "run", "--iters", 4, "--json")]
    done = subprocess.run(
        [*launcher, "--starting-port", str(free_port()), "--", *call],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert json.loads(done.stdout)["steps"] == 4, done.stderr
    assert done.stderr.count("Training") == 2, done.stderr  # what is trained, and the end of it
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*ADAPTER, "config.json", "metrics.jsonl"}


@pytest.mark.parametrize(("name", "said"), [("iters", 3), ("epochs", 1)])
def test_the_length_of_the_call_replaces_the_files(name, said):
    from duomem_mlx.cli.train import resolve

    settings, _ = resolve({}, {"iters": 7}, {name: said})
    assert getattr(settings, name) == said
    assert (settings.iters is None) == (name == "epochs")
