import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.memory import encoder as room
from duomem_mlx.memory.encoder import MAX_TOKENS, load_encoder

GOLDEN = Path(__file__).parent / "golden"
TEXTS = json.loads((GOLDEN / "minilm_texts.json").read_text(encoding="utf-8"))
VECTORS = np.load(GOLDEN / "minilm_vectors.npy")


@pytest.fixture(scope="module")
def encoder(encoder_weights):
    return load_encoder()


def cosines(one, two):
    one, two = one.astype(np.float64), two.astype(np.float64)
    return (one * two).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)


def test_vectors_are_those_of_sentence_transformers(encoder):
    vectors = encoder.encode([row["text"] for row in TEXTS])
    assert vectors.dtype == np.float32
    assert vectors.shape == VECTORS.shape
    assert cosines(vectors, VECTORS).min() >= 0.99999
    assert np.abs(vectors - VECTORS).max() < 1e-5


def test_the_golden_texts_reach_over_every_limit():
    tokens = [row["tokens"] for row in TEXTS]
    assert min(tokens) == 2
    assert any(128 < count < MAX_TOKENS for count in tokens)
    assert MAX_TOKENS in tokens
    assert max(tokens) > MAX_TOKENS


def test_what_is_beyond_the_limit_is_not_read(encoder):
    longest = TEXTS[-1]["text"]
    assert np.array_equal(encoder.encode([longest]), encoder.encode([longest + " and then win"]))
    inside = TEXTS[9]["text"]
    assert cosines(encoder.encode([inside]), encoder.encode([inside + " and then win"]))[0] < 0.9999


def test_rows_are_unit_and_in_the_order_of_the_texts_whatever_stands_beside_them(encoder):
    texts = [f"put {word} {'very ' * (number % 7)}box on dresser" for number, word in enumerate("abcdefghijklmnopqr")]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-6
    assert np.abs(together - alone).max() < 1e-6
    assert np.abs(encoder.encode(texts[::-1]) - together[::-1]).max() < 1e-6


def test_equal_texts_have_equal_vectors(encoder):
    texts = ["put some box on dresser", "find two pen and put them in drawer"] * 5
    vectors = encoder.encode([*texts, "put some mug on dresser"])
    assert all(np.array_equal(vectors[row], vectors[row % 2]) for row in range(10))


def test_more_texts_than_one_batch_holds(encoder, monkeypatch):
    texts = [f"find two pen and put them in drawer {number}" for number in range(10)]
    whole = encoder.encode(texts)
    monkeypatch.setattr(room, "BATCH_TOKENS", 30)
    assert np.abs(encoder.encode(texts) - whole).max() < 1e-6


def test_no_text_no_row_and_one_text_is_no_sequence(encoder):
    assert encoder.encode([]).shape == (0, encoder.dimensions)
    with pytest.raises(TypeError):
        encoder.encode("put some box on dresser")


def test_names_of_the_default_are_one_encoder(encoder):
    for name in ("all-minilm-l6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        assert load_encoder(name).fingerprint == encoder.fingerprint
    assert (encoder.id, encoder.dimensions, encoder.max_tokens) == ("all-minilm-l6-v2", 384, 256)


def test_a_fresh_process_needs_neither_torch_nor_transformers(encoder_weights):
    code = """if True:
        import sys
        from duomem_mlx.memory.encoder import load_encoder
        load_encoder().encode(["put some box on dresser"])
        print({"torch", "transformers", "mlx_lm", "sentence_transformers"} & {*sys.modules})
        from duomem_mlx import blas
        print(blas.status().fault)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, fault = done.stdout.splitlines()
    assert modules == "set()"
    assert "before" not in fault


def test_an_unknown_name_and_a_missing_extra_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="There is no model"):
        load_encoder("./nothing")
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(DuomemError, match=r"pip install 'duomem-mlx\[sentence-transformers\]'"):
        load_encoder(str(tmp_path))


def test_another_encoder_goes_through_sentence_transformers(tmp_path, monkeypatch):
    class Double:
        """Stands for the real library, which brings torch."""

        max_seq_length = 77

        def __init__(self, path):
            if (Path(path) / "config.json").read_text() == "{}":
                raise ValueError("no architecture\nin it")

        def encode(self, texts, normalize_embeddings, show_progress_bar):
            assert normalize_embeddings
            assert not show_progress_bar
            return [[0.6, 0.8] for _ in texts]

    monkeypatch.setitem(sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=Double))
    (tmp_path / "model.safetensors").write_bytes(b"1")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    encoder = load_encoder(str(tmp_path))
    assert encoder.encode(["one", "two"]).dtype == np.float32
    assert (encoder.dimensions, encoder.max_tokens, encoder.id) == (2, 77, str(tmp_path))
    assert encoder.encode([]).shape == (0, 2)
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert load_encoder(str(tmp_path)).fingerprint != encoder.fingerprint
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DuomemError, match=r"no architecture\. Name") as error:
        load_encoder(str(tmp_path))
    assert "\n" not in str(error.value)


def test_the_real_sentence_transformers_gives_the_same_vectors(encoder, encoder_weights):
    pytest.importorskip("sentence_transformers", reason="the extra is not installed: .[sentence-transformers]")
    other = load_encoder(str(encoder_weights))
    texts = [row["text"] for row in TEXTS]
    assert cosines(other.encode(texts), encoder.encode(texts)).min() >= 0.99999
