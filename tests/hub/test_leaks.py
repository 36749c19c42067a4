"""What must not leave a machine, and what only looks like it."""

import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.errors import DuomemError
from duomem_mlx.hub.leaks import leaks, refuse_leaks
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.scripts import Memory
from tests.hub import making, server
from tests.memory.hashing import HashingEncoder, memory

REPO = f"{server.USER}/tiny"
BAD = [
    "see /srv/data/model",
    "/Users/ann/models",
    "--out=/tmp/x/y",
    "(/opt/a/b)",
    "host:/mnt/a/b",
    "in ~/models there is",
    "file:///a",
    r"C:\Users\ann",
    "hf_" + "a1B2" * 8,
    "sk-" + "a1B2" * 8,
    "sk-proj-" + "a1B2" * 8,
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 9,
    "AKIA" + "ABCD" * 4,
    "AIza" + "a1B2c" * 7,
    "xoxb-1234567890-abc",
    "Authorization: Bearer " + "a1B2" * 5,
    "-----BEGIN RSA PRIVATE KEY-----",
]
GOOD = [
    "train/pick_cool_then_place_in_recep-Bowl-None-CounterTop-13/trial_T20190909_060843_859416",
    "put it in/on the desk, and/or the shelf; 24/24, 1.5 / 2 s",
    "https://huggingface.co/acme/tiny, see docs/log.md and ../x/y",
    "<b>bold</b></td></tr>",
    "acme/tiny on cpu; Linux 6.1; ratio 3/4/5; s/game",
    "a bearer of news; sk-ip; hf_model; the key of the door",
    "ALFWorld's C: drive",
]


@pytest.mark.parametrize("text", BAD)
def test_paths_and_keys_are_seen(text: str) -> None:
    for line in (text, json.dumps({"a": f"so\n{text}\tit is"}), json.dumps({"a": text}).replace("/", r"\u002f")):
        found = list(leaks("a.json", f"one\n{line}\nthree"))
        assert [(leak.file, leak.line) for leak in found] == [("a.json", 2)], line


@pytest.mark.parametrize("text", GOOD)
def test_what_only_looks_like_it_passes(text: str) -> None:
    assert list(leaks("a", text + "\n" + json.dumps({"a": text}))) == []


@given(st.text(alphabet="abc/ ._-\n"), st.sampled_from(BAD))
def test_whatever_stands_before_it(before: str, bad: str) -> None:
    assert list(leaks("a", f"{before}\n {bad}"))


def test_the_home_folder_and_keys_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/anns"))
    assert "home folder" in next(leaks("a", "it is in /anns, really")).what
    assert list(leaks("a", "it is in /annstown")) == []
    monkeypatch.setenv("ACME_API_KEY", "correct-horse")
    for secret, token in (("correct-horse", None), ("battery-staple", "battery-staple")):
        with pytest.raises(DuomemError, match=r"a.md, line 2, holds a key that this machine knows") as told:
            refuse_leaks([("a.md", f"one\nthe {secret} two")], token)
        assert secret not in str(told.value)
    refuse_leaks([("a.md", "battery-staple")])


def with_memory(folder: Path, one: Memory) -> Path:
    with Bank.create(folder, HashingEncoder()) as bank:
        bank.add([memory(), one])
    return folder


def test_a_bundle_with_a_path_in_a_memory_is_refused_by_file_and_line(hub, call, parts, tmp_path) -> None:
    bad = replace(memory("read a file"), steps=("cat /srv/secret/plan.txt",))
    bank = with_memory(tmp_path / "bank", bad)
    words = ["publish", parts / "adapter", "--memories", bank, "--to", REPO, "--base", making.BASE, "--license", "mit"]
    with Bank.open(bank) as opened:
        line = [memory.id for memory in opened].index(bad.id) + 1
    for more in ((), ("--dry-run",)):
        found, _, err = call(*words, *more)
        assert found == 1
        assert f"memories/memories.jsonl, line {line}, holds a path of a machine (/srv/secret/plan.txt)" in err
    assert not hub.asked


def test_a_path_in_any_other_part_is_refused(hub, call, parts, tmp_path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for path in (parts / "adapter").iterdir():
        (adapter / path.name).write_bytes(path.read_bytes())
    words = ["publish", adapter, "--to", REPO, "--base", making.BASE, "--license", "mit", "--teacher", "search"]
    assert call(*words, "--dry-run")[0] == 0
    for name in ("duomem.json", "adapter_config.json"):
        whole = (adapter / name).read_text()
        (adapter / name).write_text(json.dumps({**json.loads(whole), "data_path": str(tmp_path)}, indent=1))
        found, _, err = call(*words)
        assert found == 1
        assert f"{name}, line " in err
        (adapter / name).write_text(whole)
    weights = mx.load(str(adapter / "adapters.safetensors"))
    mx.eval(weights)
    mx.save_safetensors(str(adapter / "adapters.safetensors"), weights, {"made_in": str(tmp_path)})
    found, _, err = call(*words)
    assert found == 1
    assert "adapters.safetensors, line 1" in err
    found, _, err = call(*words[:-1], "me at /home/ann/x")
    assert found == 1
    assert not hub.asked
