"""Bundles that nobody honest published: none of them is installed, and what was there before is still there."""

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem_mlx.errors import DuomemError
from duomem_mlx.hub import bundle
from duomem_mlx.memory.bank import Bank
from duomem_mlx.models_on_disk import ENCODER
from tests.hub import making, server
from tests.memory.hashing import HashingEncoder, memory

REPO = f"{server.USER}/tiny"


@pytest.fixture
def there(hub, call, parts):
    """A Hub that holds a sound bundle, which was pulled, too."""
    assert call(*making.publishing(parts, REPO))[0] == 0
    assert call("pull", REPO)[0] == 0
    return hub


@pytest.fixture
def refused(there, call, tmp_path):
    """Pull what the Hub holds now; it has to be refused with these words, and the one from before to stay whole."""
    place = tmp_path / "home" / "bundles" / REPO

    def look() -> dict[str, bytes]:
        return {
            str(path.relative_to(place.parent)): path.read_bytes() for path in place.parent.rglob("*") if path.is_file()
        }

    before = look()

    def pull(*said: str, more: tuple[object, ...] = ()) -> None:
        found, out, err = call("pull", REPO, *more)
        assert found in (1, 2), out + err
        last = err.strip().splitlines()[-1]
        for words in said:
            assert words in last
        assert look() == before
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".tiny.")]

    return pull


Files = dict[str, bytes]


def forge(hub: server.Hub, changes: dict[str, bytes | None] | None = None, listed=dict, head=None) -> None:
    """A commit with `changes` and a bundle.json that fits them, as a forger would make it; `listed` changes the files
    that it lists, `head` what else it says."""
    files: Files = hub.files(REPO)
    new = {name: data for name, data in {**files, **(changes or {})}.items() if data is not None}
    names = [name for name in new if name not in ("bundle.json", ".gitattributes")]
    sums = {name: {"bytes": len(new[name]), "sha256": hashlib.sha256(new[name]).hexdigest()} for name in names}
    record = {**json.loads(files["bundle.json"]), "files": listed(sums), **(head or {})}
    hub.repos[REPO].commit({**new, "bundle.json": json.dumps(record).encode()})


@pytest.mark.parametrize("name", sorted(set(bundle.LIMITS) - {bundle.CARD, bundle.HEAD}))
def test_a_hash_that_does_not_fit_is_refused(there, refused, name: str) -> None:
    data = there.files(REPO)[name]
    there.change(REPO, **{name: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]})
    refused(name, "SHA-256 is another")


def test_other_bytes_on_the_way_are_refused(there, refused) -> None:
    data = there.files(REPO)["duomem.json"]
    there.sent["duomem.json"] = data[:-2] + b" }"
    refused("duomem.json")
    there.sent["duomem.json"] = data + b" " * 100
    refused("longer or shorter than the Hub said")
    there.sent["duomem.json"] = data[:100]
    refused("longer or shorter than the Hub said")


def test_a_card_that_was_mended_on_the_hub_is_told_and_taken(there, call) -> None:
    there.change(REPO, **{"README.md": b"# a better card\n"})
    found, _, err = call("pull", REPO)
    assert found == 0
    assert "Its card was changed" in err


@pytest.mark.parametrize(
    "name", ["../evil.json", "memories/../../evil", "/etc/passwd", "a/b/c", "run.py", "bundle.json", "", "\x00"]
)
def test_a_name_that_no_bundle_has_is_refused(there, refused, tmp_path, name: str) -> None:
    forge(there, listed=lambda files: {**files, name: {"bytes": 1, "sha256": "0" * 64}})
    refused("is no file of a bundle")
    assert not list(tmp_path.rglob("evil*"))


def test_what_else_lies_there_is_not_fetched(there, call, tmp_path) -> None:
    evil = {"setup.py": b"raise SystemExit", "adapters.pkl": pickle.dumps({}), "../up.json": b"{}", "model.bin": b"x"}
    there.change(REPO, **evil)
    there.asked.clear()
    found, _, err = call("pull", REPO)
    assert found == 0
    assert "Left where it is, since no bundle has it: ../up.json, adapters.pkl, model.bin, setup.py." in err
    fetched = {line.rpartition("/")[2] for line in there.asked if "/resolve/" in line}
    assert fetched == {name.rpartition("/")[2] for name in bundle.LIMITS}
    assert not {"setup.py", "adapters.pkl", "up.json", "model.bin"} & {path.name for path in tmp_path.rglob("*")}


@pytest.mark.parametrize("name", sorted(bundle.LIMITS))
def test_a_file_that_is_too_large_is_not_fetched(there, refused, name: str) -> None:
    there.sizes[name] = bundle.LIMITS[name] + 1
    there.asked.clear()
    refused(name, "are taken")
    assert not [line for line in there.asked if line.startswith("GET") and line.endswith("/" + name)]


def test_a_size_that_bundle_json_does_not_have_is_refused(there, refused) -> None:
    forge(there, listed=lambda files: {**files, "duomem.json": {**files["duomem.json"], "bytes": 7}})
    refused("duomem.json", "where bundle.json says 7")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"format": 2}, "Install a newer duomem-mlx"),
        ({"format": True}, "names no format"),
        ({"format": "1"}, "names no format"),
        ({"base": "../../home"}, "names no base model"),
        ({"base": None}, "names no base model"),
        ({"files": []}, "lists no files"),
        ({"files": {}}, "lists no README.md"),
    ],
)
def test_a_head_that_is_newer_or_wrong_is_refused(there, refused, head, said: str) -> None:
    forge(there, head=head)
    refused(said)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_head_that_is_no_json_is_refused(there, refused, text: bytes) -> None:
    there.change(REPO, **{"bundle.json": text})
    refused()


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FILE = ANY | st.fixed_dictionaries({"bytes": ANY | st.just(1), "sha256": ANY | st.just("0" * 64)})
FILES = st.dictionaries(st.sampled_from(sorted(bundle.LIMITS)) | st.text(max_size=8), FILE)


@given(st.fixed_dictionaries({"format": ANY | st.just(1), "base": ANY | st.just("a/b"), "files": ANY | FILES}))
def test_whatever_a_head_says_it_is_whole_or_refused_in_a_sentence(tmp_path_factory, record) -> None:
    path = tmp_path_factory.mktemp("head") / "bundle.json"
    path.write_text(json.dumps(record))
    try:
        head = bundle.read_head(path)
    except DuomemError:
        return
    assert set(bundle.NEEDED) <= set(head.files) <= set(bundle.LIMITS) - {"bundle.json"}
    assert all(0 <= file.bytes <= bundle.LIMITS[name] for name, file in head.files.items())


@pytest.mark.parametrize("name", ["bundle.json", *bundle.ADAPTER, *bundle.BANK])
def test_a_file_that_is_missing_is_told(there, refused, name: str) -> None:
    there.change(REPO, **{name: None})
    refused(name)


def test_half_a_bank_is_refused(there, refused) -> None:
    forge(there, {"memories/vectors.npy": None})
    refused("a bank that is not whole")


def test_a_link_is_a_small_text_and_refused_as_that(there, refused) -> None:
    """git keeps a link as a file with the place it leads to, and the Hub hands that text out."""
    forge(there, {"memories/memories.jsonl": b"../../../../etc/passwd"})
    refused("memories.jsonl")
    forge(there, {"adapters.safetensors": b"/etc/passwd"})
    refused("is no safetensors file")


def test_a_link_in_the_folder_is_no_file(there, tmp_path) -> None:
    folder = tmp_path / "home" / "bundles" / REPO
    head = bundle.read_head(folder / "bundle.json")
    target = tmp_path / "elsewhere"
    (folder / "duomem.json").rename(target)
    (folder / "duomem.json").symlink_to(target)
    with pytest.raises(DuomemError, match=r"duomem.json is not there as a file"):
        bundle.check(folder, head)


def test_a_pickle_in_the_weights_place_is_refused(there, refused) -> None:
    forge(there, {"adapters.safetensors": pickle.dumps({"a": 1})})
    refused("is no safetensors file")


def test_weights_that_are_no_adapter_s_are_refused(there, refused, tmp_path) -> None:
    mx.save_safetensors(str(tmp_path / "m.safetensors"), {"model.embed_tokens.weight": mx.zeros((2, 2))})
    forge(there, {"adapters.safetensors": (tmp_path / "m.safetensors").read_bytes()})
    refused("model.embed_tokens.weight", "no part of a LoRA adapter")


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_weights_never_reach_mlx(data, tmp_path_factory) -> None:
    """Whatever the head of the file says: refused in one sentence, or whole."""
    folder = tmp_path_factory.mktemp("weights")
    path = folder / "adapters.safetensors"
    mx.save_safetensors(str(path), {"layers.0.lora_a": mx.zeros((4, 2)), "layers.0.lora_b": mx.zeros((2, 4))})
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:at] + data.draw(st.binary(max_size=12)) + whole[at + data.draw(st.integers(0, 12)) :])
    if bundle.weights_fault(path) is None:
        mx.eval(mx.load(str(path)))


@pytest.mark.parametrize("name", ["adapter_config.json", "duomem.json", "results/summary.json", "memories/bank.json"])
@pytest.mark.parametrize("text", [b"", b"[1]", b"{", b"null"])
def test_json_that_is_none_is_refused(there, refused, name: str, text: bytes) -> None:
    forge(there, {name: text})
    refused()


def test_a_memory_that_is_not_sound_is_refused(there, refused) -> None:
    lines = there.files(REPO)["memories/memories.jsonl"].splitlines(keepends=True)
    record = {**json.loads(lines[0]), "script": "do as I say"}
    changed = b"".join([json.dumps(record).encode() + b"\n", *lines[1:]])
    forge(there, {"memories/memories.jsonl": changed, "memories/bank.json": bank_head(there, changed)})
    refused("id that is not its content's")
    torn = b"".join(lines)[:-20]
    forge(there, {"memories/memories.jsonl": torn, "memories/bank.json": bank_head(there, torn)})
    refused("is cut short")


def bank_head(hub: server.Hub, memories: bytes) -> bytes:
    head = json.loads(hub.files(REPO)["memories/bank.json"])
    head["files"]["memories.jsonl"] = {"bytes": len(memories), "sha256": hashlib.sha256(memories).hexdigest()}
    return json.dumps(head).encode()


def test_a_bank_of_another_encoder_is_refused_or_told(there, call, refused, tmp_path, encoder_weights) -> None:
    with Bank.create(tmp_path / "live", HashingEncoder(384, name=ENCODER)) as bank:
        bank.add([memory()])
        bank.export(tmp_path / "bank")
    names = {f"memories/{path.name}": path.read_bytes() for path in (tmp_path / "bank").iterdir()}
    forge(there, names)
    refused("was made with the encoder all-minilm-l6-v2", "not with all-minilm-l6-v2")


def test_an_encoder_that_is_not_the_default_is_told(there, call) -> None:
    found, _, err = call("pull", REPO)
    assert found == 0
    assert "found with the encoder hashing, which is not the default one" in err


def test_an_adapter_of_another_base_is_refused(there, refused, parts, tmp_path) -> None:
    other = making.save_base(tmp_path / "other", hidden_size=64)
    refused("trained for another base", "hidden_size is 32", more=("--model", other))
    refused("no model gone", more=("--model", "gone"))


def test_other_weights_of_the_base_are_told(there, call, tmp_path) -> None:
    found, _, err = call("pull", REPO, "--model", making.save_base(tmp_path / "other", seed=1))
    assert found == 0, err
    assert "trained on other weights of the same base" in err


def test_a_revision_is_pulled_and_one_that_is_not_there_refused(there, call, refused, tmp_path) -> None:
    first = there.repos[REPO].commits[-1][0]
    there.change(REPO, **{"bundle.json": b"{}"})
    refused("names no format")
    found, out, _ = call("pull", REPO, "--revision", first, "--json")
    assert found == 0
    assert json.loads(out)["commit"] == first
    refused("no such revision", more=("--revision", "v9"))


def test_what_is_no_bundle_or_cannot_be_read_is_told(there, call, monkeypatch) -> None:
    there.repos["ann/plain"] = server.Repo(private=False)
    there.repos["ann/plain"].commit({"README.md": b"# hello"})
    found, _, err = call("pull", "ann/plain")
    assert (found, "ann/plain holds no bundle" in err) == (2, True)
    found, _, err = call("pull", "ann/none")
    assert (found, "no bundle ann/none on the Hub that you may read" in err) == (2, True)
    monkeypatch.delenv("HF_TOKEN")
    found, _, err = call("pull", REPO)  # it is private
    assert (found, "that you may read" in err) == (2, True)


def test_nothing_of_a_person_s_is_replaced(there, call, tmp_path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    for more in ((), ("--overwrite",)):
        found, _, err = call("pull", REPO, "--out", mine, *more)
        assert (found, "is there already" in err) == (2, True)
    assert [path.name for path in mine.iterdir()] == ["letter.txt"]
    link = tmp_path / "link"
    link.symlink_to(mine)
    assert call("pull", REPO, "--out", link, "--overwrite")[0] == 2
    assert call("pull", REPO, "--out", tmp_path / "new")[0] == 0
    assert call("pull", REPO, "--out", tmp_path / "new")[0] == 2
    assert call("pull", REPO, "--out", tmp_path / "new", "--overwrite")[0] == 0
    (tmp_path / "new" / "letter.txt").write_text("dear")
    assert call("pull", REPO, "--out", tmp_path / "new", "--overwrite")[0] == 2
    assert (tmp_path / "new" / "letter.txt").read_text() == "dear"


def test_a_live_bank_published_is_one_pulled_that_cannot_be_written(there, tmp_path) -> None:
    with Bank.open(REPO, HashingEncoder()) as bank:
        assert bank.sealed
        with pytest.raises(DuomemError, match="is sealed"):
            bank.add([replace(memory(), task="another")])
    assert isinstance(Path(bank.path), Path)
