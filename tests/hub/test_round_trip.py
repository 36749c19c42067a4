"""Up to a Hub on this machine and down again, and everything that can go wrong on the way up."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest

from duomem_mlx.cli import wiring
from duomem_mlx.environment import find_environment
from duomem_mlx.errors import UsageError
from duomem_mlx.household.environment import household
from duomem_mlx.hub import bundle
from duomem_mlx.memory.bank import Bank
from duomem_mlx.student import adapters
from duomem_mlx.student.agent import load_agent
from duomem_mlx.student.models import load_student
from tests.hub import making, server
from tests.memory.hashing import HashingEncoder
from tests.student.test_models import greedy, save_base

REPO = f"{server.USER}/tiny-alfworld"
FILES = {*bundle.LIMITS, ".gitattributes"}


def test_what_is_published_is_pulled_and_played_with(hub, call, parts, tmp_path) -> None:
    found, out, err = call(*making.publishing(parts, REPO))
    assert found == 0, err
    assert f"{hub.url}/{REPO}" in out
    assert f"Next: duomem-mlx pull {REPO}" in err
    assert set(hub.files(REPO)) == FILES
    assert hub.repos[REPO].private
    assert len(hub.repos[REPO].commits) == 2, "the Hub's own and one of ours"

    found, out, err = call("pull", REPO, "--model", parts / "base")
    assert found == 0, err
    assert f"duomem-mlx run --model {parts / 'base'} --adapter {REPO} --memories {REPO}" in err
    folder = tmp_path / "home" / "bundles" / REPO
    assert wiring.adapter_path(REPO, None, household()) == folder
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == FILES - {".gitattributes"}
    assert adapters.identity(folder) == adapters.identity(parts / "adapter")
    with Bank.open(REPO, HashingEncoder()) as pulled, Bank.open(parts / "bank", HashingEncoder()) as own:
        assert pulled.identity == own.identity
        assert [hit.memory for hit in pulled.search(making.TASKS[0], 2)] == [
            hit.memory for hit in own.search(making.TASKS[0], 2)
        ]
        agent = load_agent(REPO, pulled, model=str(parts / "base"))
        game = find_environment("household").open("generated:1")
        assert len(list(agent.play(game, max_steps=2))) == 2


def test_mlx_lm_opens_the_pulled_adapter_and_says_what_our_student_says(hub, call, parts, tmp_path) -> None:
    assert call(*making.publishing(parts, REPO))[0] == 0
    assert call("pull", REPO)[0] == 0
    folder, base = tmp_path / "home" / "bundles" / REPO, str(parts / "base")
    student, bare = load_student(base, adapter=folder), load_student(base)
    theirs, tokenizer = mlx_lm.load(base, adapter_path=str(folder))
    prompt = mx.array([tokenizer.encode("You see a mug 1.\n> go to", add_special_tokens=False)])
    assert mx.allclose(theirs(prompt), student.model(prompt), atol=1e-5)
    assert greedy(theirs, tokenizer) == greedy(student.model, student.tokenizer)
    assert not mx.allclose(theirs(prompt), bare.model(prompt), atol=1e-2)


def test_the_summary_names_the_base_as_the_hub_does(hub, call, parts) -> None:
    assert call(*making.publishing(parts, REPO))[0] == 0
    summary = json.loads(hub.files(REPO)["results/summary.json"])
    assert summary["model"] == making.BASE
    assert summary["arms"] == json.loads((parts / "results" / "summary.json").read_text())["arms"]


def test_a_dry_run_shows_all_of_it_and_sends_nothing(hub, call, parts) -> None:
    found, out, err = call(*making.publishing(parts, REPO, "--dry-run"))
    assert found == 0
    assert not hub.asked
    for name in bundle.LIMITS:
        assert name in out
    assert "base_model: acme/tiny" in out
    assert "Nothing was sent" in err
    found, shown, _ = call(*making.publishing(parts, REPO, "--dry-run", "--json"))
    said = json.loads(shown)
    assert call(*making.publishing(parts, REPO))[0] == 0
    held = hub.files(REPO)
    assert said["card"] == held["README.md"].decode()
    assert said["files"] == {name: len(held[name]) for name in said["files"]}
    assert set(said["files"]) == set(bundle.LIMITS)
    assert said["private"] is True


def test_the_same_again_makes_no_commit_and_less_takes_away_what_is_gone(hub, call, parts, tmp_path) -> None:
    assert call(*making.publishing(parts, REPO))[0] == 0
    hub.change(REPO, **{"notes.txt": b"mine"})
    found, _, err = call(*making.publishing(parts, REPO))
    assert found == 0
    assert "there already" in err
    assert len(hub.repos[REPO].commits) == 3
    words = ["publish", parts / "adapter", "--to", REPO, "--base", making.BASE, "--license", "mit"]
    found, _, err = call(*words, "--teacher", "Somebody (their licence)")
    assert found == 0, err
    assert set(hub.files(REPO)) == {".gitattributes", "notes.txt", "bundle.json", *bundle.NEEDED}
    assert "Somebody (their licence)" in hub.files(REPO)["README.md"].decode()


def test_public_is_said_or_it_is_private(hub, call, parts) -> None:
    assert call(*making.publishing(parts, REPO, "--public"))[0] == 0
    assert not hub.repos[REPO].private
    commits = len(hub.repos[REPO].commits)
    found, _, err = call(*making.publishing(parts, REPO))
    assert found == 2
    assert "everybody can read it" in err
    assert len(hub.repos[REPO].commits) == commits


def test_an_upload_that_breaks_off_is_taken_up_again(hub, call, parts) -> None:
    hub.drop_uploads = 1
    assert call(*making.publishing(parts, REPO))[0] == 0
    assert set(hub.files(REPO)) == FILES


@pytest.mark.parametrize("fault", ["upload", "commit"])
def test_an_upload_that_fails_leaves_nothing_and_works_again(hub, call, parts, fault: str) -> None:
    hub.drop_uploads = 1000 if fault == "upload" else 0
    hub.refuse_commits = 503 if fault == "commit" else 0
    found, _, err = call(*making.publishing(parts, REPO))
    assert found == 1
    last = err.strip().splitlines()[-1]
    assert "Nothing was published; run the same command again." in last
    assert set(hub.files(REPO)) == {".gitattributes"}
    hub.drop_uploads = hub.refuse_commits = 0
    assert call(*making.publishing(parts, REPO))[0] == 0
    assert set(hub.files(REPO)) == FILES


def stopped(hub, words, stop: signal.Signals, begun: threading.Event, held: threading.Event) -> tuple[int, str]:
    """Status and standard error of a program that is stopped in the middle of what `held` holds up."""
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    env["TMPDIR"] = os.getcwd()  # the test's own: what is killed clears nothing away
    command = [sys.executable, "-m", "duomem_mlx", *map(str, words)]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert begun.wait(60)
        process.send_signal(stop)
        _, err = process.communicate(timeout=20)  # it does not wait for what hangs
    held.set()
    return process.returncode, err


STOPS = pytest.mark.parametrize(("stop", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])


@STOPS
def test_a_program_that_is_stopped_while_it_uploads_leaves_nothing(hub, call, parts, stop, status) -> None:
    hub.hold_uploads = threading.Event()
    found, err = stopped(hub, making.publishing(parts, REPO), stop, hub.uploading, hub.hold_uploads)
    assert found == status, err
    assert status != 130 or err.strip().endswith("duomem-mlx: stopped.")
    assert set(hub.files(REPO)) == {".gitattributes"}
    assert call(*making.publishing(parts, REPO))[0] == 0
    assert set(hub.files(REPO)) == FILES


@STOPS
def test_a_program_that_is_stopped_while_it_pulls_leaves_what_was_there(
    hub, call, parts, tmp_path, stop, status
) -> None:
    assert call(*making.publishing(parts, REPO))[0] == 0
    assert call("pull", REPO)[0] == 0
    folder = tmp_path / "home" / "bundles" / REPO
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    hub.downloading.clear()
    hub.hold_downloads = threading.Event()
    found, err = stopped(hub, ["pull", REPO], stop, hub.downloading, hub.hold_downloads)
    assert found == status, err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    left = [path for path in folder.parent.iterdir() if path != folder]
    assert len(left) == (1 if stop == signal.SIGKILL else 0)
    for path in left:
        os.utime(path, (0, 0))
    assert call("pull", REPO)[0] == 0
    assert list(folder.parent.iterdir()) == [folder], "what the killed one left is swept up"


def test_somebody_else_s_commit_in_between_is_not_overrun(hub, call, parts) -> None:
    hub.upon_upload = lambda: hub.change(REPO, **{"README.md": b"# by another hand\n"})
    found, _, err = call(*making.publishing(parts, REPO))
    assert found == 1
    assert "was changed by someone else meanwhile" in err
    assert set(hub.files(REPO)) == {".gitattributes", "README.md"}
    hub.upon_upload = lambda: None
    assert call(*making.publishing(parts, REPO))[0] == 0


@pytest.mark.parametrize(
    ("token", "to", "said"),
    [
        ("hf_" + "wrongtoken" * 3, REPO, "does not take the token"),
        (server.TOKEN, "bob/tiny", "may not write to bob/tiny"),
        ("", REPO, "no token for the Hub"),
    ],
)
def test_a_token_that_does_not_do_is_told_in_one_sentence(hub, call, parts, monkeypatch, token, to, said) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    else:
        monkeypatch.delenv("HF_TOKEN")
    found, out, err = call(*making.publishing(parts, to))
    assert found in (1, 2)
    assert said in err
    assert "hf auth login" in err
    assert server.TOKEN not in out + err
    assert "wrongtoken" not in out + err
    assert len(err.strip().splitlines()) <= 2
    assert not hub.repos


def test_without_a_network_or_with_the_cable_pulled(hub, call, parts, monkeypatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for words in (making.publishing(parts, REPO), ["pull", REPO]):
        found, _, err = call(*words)
        assert found == 1
        assert "HF_HUB_OFFLINE" in err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for words in (making.publishing(parts, REPO), ["pull", REPO]):
        found, _, err = call(*words)
        assert found == 1
        assert "The Hub cannot be reached" in err


@pytest.mark.parametrize("name", ["tiny", "ann/../tiny", "/ann/tiny", "ann/tiny/x", "ann/..", "ann/-x", "ann/a--b", ""])
def test_a_name_that_the_hub_cannot_have_is_refused(hub, call, parts, name: str) -> None:
    for words in (making.publishing(parts, name), ["pull", name]):
        found, _, err = call(*words)
        assert found == 2
        assert "OWNER/NAME" in err
    assert not hub.asked


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--results": "none there"}, "no summary of results"),
        ({"--memories": None}, "made with some memories"),
        ({"--memories": "gone"}, "no bank 'gone'"),
        ({"--base": None}, "--base OWNER/NAME"),
        ({"--base": "just-a-name"}, "--base OWNER/NAME"),
        ({"--license": None}, "--license"),
        ({"--license": ""}, "no licence as the Hub names one"),
        ({"--license": "GPL v3 or so"}, "no licence as the Hub names one"),
        ({"--teacher": " "}, "--teacher is blank"),
    ],
)
def test_what_is_lacking_for_a_card_is_asked_for(hub, call, parts, change, said: str) -> None:
    words = making.publishing(parts, REPO)
    for option, value in change.items():
        place = words.index(option) if option in words else len(words)
        words[place : place + 2] = [] if value is None else [option, value]
    found, _, err = call(*words)
    assert found == 2, err
    assert said in err
    assert not hub.asked


def test_results_of_another_adapter_are_refused(hub, call, parts, tmp_path) -> None:
    other = making.save_adapter(tmp_path / "other", str(parts / "base"), rank=2)
    words = making.publishing(parts, REPO)
    words[1] = str(other)
    found, _, err = call(*words)
    assert (found, "are of another adapter" in err) == (2, True)


def test_a_teacher_with_a_licence_of_its_own_is_to_be_named(hub, call, parts, tmp_path) -> None:
    from dataclasses import replace

    from tests.memory.hashing import memory

    with Bank.create(tmp_path / "bank", HashingEncoder()) as bank:
        one = memory()
        bank.add([replace(one, source=replace(one.source, teacher="acme/big"))])
    words = ["publish", parts / "adapter", "--memories", tmp_path / "bank", "--to", REPO, "--base", making.BASE]
    found, _, err = call(*words, "--license", "mit", "--dry-run")
    assert found == 2
    assert "acme/big" in err
    found, out, _ = call(*words, "--license", "mit", "--dry-run", "--teacher", "acme/big (acme's licence)")
    assert found == 0
    assert "- **Teacher**: acme/big (acme's licence)." in out


def test_what_was_not_pulled_says_how_to_pull_it(hub) -> None:
    for ask in (lambda: wiring.adapter_path("ann/gone", None, household()), lambda: wiring.bank_folder("ann/gone")):
        with pytest.raises(UsageError, match="duomem-mlx pull ann/gone"):
            ask()


def test_a_bundle_without_memories_says_so(hub, call, parts) -> None:
    words = ["publish", parts / "adapter", "--to", REPO, "--base", making.BASE, "--license", "mit"]
    assert call(*words, "--teacher", "search")[0] == 0
    found, _, err = call("pull", REPO)
    assert found == 0, err
    assert f"--adapter {REPO} --memories none" in err
    assert f"Its base {making.BASE} is not on this machine" in err
    with pytest.raises(UsageError, match="has no memories"):
        wiring.bank_folder(REPO)


def test_no_vector_is_lost_on_the_way(hub, call, parts, tmp_path) -> None:
    assert call(*making.publishing(parts, REPO))[0] == 0
    assert call("pull", REPO, "--out", tmp_path / "out")[0] == 0
    with Bank.open(parts / "bank") as own:
        own.export(tmp_path / "own")
    for name in ("memories.jsonl", "vectors.npy"):
        assert (tmp_path / "out" / "memories" / name).read_bytes() == (tmp_path / "own" / name).read_bytes()
    assert np.load(tmp_path / "out" / "memories" / "vectors.npy").shape == (3, 32)


def test_an_adapter_of_mlx_lm_s_own_trainer_is_published_as_one_that_knows_its_base(
    hub, call, parts, tmp_path, monkeypatch
) -> None:
    from huggingface_hub import constants

    plain = making.as_mlx_lm_saves(parts / "adapter", tmp_path / "plain")
    words = ["publish", plain, "--to", REPO, "--base", making.BASE, "--license", "mit", "--teacher", "me (mine)"]
    found, _, err = call(*words)
    assert found == 2
    assert f"and {making.BASE}, by which its base would be known, is not on this machine" in err
    cached = making.into_the_hub_s_cache(parts / "base", tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    found, _, err = call(*words)
    assert found == 0, err
    held = hub.files(REPO)
    assert json.loads(held["adapter_config.json"]).keys() == {"fine_tune_type", "num_layers", "lora_parameters"}
    found, _, err = call("pull", REPO)
    assert found == 0, err
    assert "not on this machine" not in err
    folder = tmp_path / "home" / "bundles" / REPO
    theirs, tokenizer = mlx_lm.load(str(cached), adapter_path=str(folder))
    own = load_student(str(cached), adapter=parts / "adapter")
    assert greedy(theirs, tokenizer) == greedy(own.model, own.tokenizer)
    other = save_base(tmp_path / "other", hidden_size=64)
    found, _, err = call("pull", REPO, "--model", other)
    assert found == 2
    assert "hidden_size is 32, the model's is 64" in err


def test_what_is_no_lora_is_not_published(hub, call, parts, tmp_path) -> None:
    plain = making.as_mlx_lm_saves(parts / "adapter", tmp_path / "plain")
    mx.save_safetensors(str(plain / "adapters.safetensors"), {"model.norm.weight": mx.ones(4)})
    found, _, err = call("publish", plain, "--to", REPO, "--base", making.BASE, "--license", "mit", "--dry-run")
    assert found == 2
    assert "'model.norm.weight', which is no part of a LoRA adapter" in err


def test_an_adapter_s_own_results_need_no_memories_whatever_bank_was_at_hand(hub, call, parts, tmp_path) -> None:
    summary = json.loads((parts / "results" / "summary.json").read_text())
    alone = {name: figures for name, figures in summary["arms"].items() if name in ("base", "adapter")}
    (tmp_path / "summary.json").write_text(json.dumps({**summary, "arms": alone}))
    words = ["publish", parts / "adapter", "--results", tmp_path / "summary.json", "--to", REPO, "--base", making.BASE]
    found, out, err = call(*words, "--license", "mit", "--dry-run")
    assert found == 0, err
    assert "from observations alone, seed" in out
    assert "memories" not in out.partition("## Results")[2].partition("## Limits")[0]


def test_what_describes_no_adapter_is_not_published(hub, call, parts, tmp_path) -> None:
    adapter = Path(shutil.copytree(parts / "adapter", tmp_path / "adapter"))
    words = ["publish", adapter, "--to", REPO, "--base", making.BASE, "--license", "mit", "--dry-run"]
    for config in ({}, {"num_layers": 2}, {"num_layers": "x", "lora_parameters": {}}, {"lora_parameters": 3}):
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        found, _, err = call(*words)
        assert found == 1
        assert "does not describe an adapter of mlx-lm" in err
