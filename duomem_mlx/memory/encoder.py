"""Texts to vectors: all-MiniLM-L6-v2 run by MLX itself, or any encoder through sentence-transformers.

The default is BERT (Devlin et al., arXiv 1810.04805, with the exact gelu), six layers of twelve heads, the mean over a
text's tokens, scaled to unit length: what sentence-transformers computes for it, without torch.
"""

from duomem_mlx.blas import load_openblas

load_openblas()

import math  # noqa: E402
from collections.abc import Mapping, Sequence  # noqa: E402
from typing import Any, Protocol  # noqa: E402

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from duomem_mlx.errors import DuomemError  # noqa: E402
from duomem_mlx.models_on_disk import ENCODER, KNOWN, Located, locate  # noqa: E402
from duomem_mlx.paths import digest  # noqa: E402

Floats = npt.NDArray[np.float32]

LAYERS = 6
HEADS = 12
DIMENSIONS = 384
EPSILON = 1e-12  # of its layer norms
MAX_TOKENS = 256  # the encoder's own limit, [CLS] and [SEP] counted; what is beyond is not read
BATCH_TOKENS = 4096  # texts run together hold at most as many, which keeps memory flat
ANY_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")  # what sentence-transformers may need of a Hub model


class Encoder(Protocol):
    """Turns texts into unit vectors that can be compared by their product."""

    @property
    def id(self) -> str:
        """The name it was asked for by."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex; vectors of equal fingerprints may be compared."""

    @property
    def dimensions(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that are read."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """float32 [N, dimensions], rows of unit length in the order of the texts."""


def load_encoder(name: str | None = None) -> Encoder:
    """The encoder called `name`: the default one, or a folder or Hub id that sentence-transformers opens.

    Raises UsageError when there is none of that name, DuomemError when it cannot be fetched, is torn, or needs the
    sentence-transformers extra.
    """
    if name in (None, ENCODER, KNOWN[ENCODER].hub):
        return MiniLM(locate(ENCODER))
    return SentenceTransformers(locate(str(name), files=ANY_FILES))


class MiniLM:
    """all-MiniLM-L6-v2 in MLX, in float32 on every device."""

    id = ENCODER
    dimensions = DIMENSIONS
    max_tokens = MAX_TOKENS

    def __init__(self, found: Located) -> None:
        from tokenizers import Tokenizer

        loaded: Any = mx.load(str(found.path / "model.safetensors"))
        self._weights: Mapping[str, mx.array] = {name: array.astype(mx.float32) for name, array in loaded.items()}
        mx.eval(self._weights)
        self._tokenizer = Tokenizer.from_file(str(found.path / "tokenizer.json"))
        self._tokenizer.no_padding()  # its file pads and cuts to 128
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self.fingerprint = digest([found.identity, "mean", "unit", MAX_TOKENS])

    def encode(self, texts: Sequence[str]) -> Floats:
        """float32 [N, 384], rows of unit length in the order of the texts."""
        if isinstance(texts, str):
            raise TypeError("a sequence of texts is wanted, not one text")
        # A row's last bit depends on its place in a product, so a text that comes twice is computed once.
        different = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(different))]
        vectors = np.empty((len(ids), DIMENSIONS), np.float32)
        for rows in _batches([len(row) for row in ids]):
            vectors[rows] = np.array(_forward(self._weights, mx.array([ids[row] for row in rows])))
        return vectors[[different[text] for text in texts]]


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows to run together: of one length, so that nothing is padded and a text's neighbours do not matter."""
    groups: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        groups.setdefault(length, []).append(row)
    batches = []
    for length, rows in groups.items():
        width = max(1, BATCH_TOKENS // length)
        batches += [rows[start : start + width] for start in range(0, len(rows), width)]
    return batches


def _forward(weights: Mapping[str, mx.array], ids: mx.array) -> mx.array:
    """Token ids int32 [B, T], none of them padding, to unit vectors float32 [B, D]."""

    def linear(x: mx.array, name: str) -> mx.array:
        return mx.addmm(weights[f"{name}.bias"], x, weights[f"{name}.weight"].T)

    def norm(x: mx.array, name: str) -> mx.array:
        return mx.fast.layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], EPSILON)

    batch, length = ids.shape
    x = (
        weights["embeddings.word_embeddings.weight"][ids]
        + weights["embeddings.position_embeddings.weight"][:length]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, f"{name}.attention.self.{part}").reshape(batch, length, HEADS, -1).swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        seen = mx.fast.scaled_dot_product_attention(query, key, value, scale=(DIMENSIONS // HEADS) ** -0.5)
        seen = linear(seen.swapaxes(1, 2).reshape(batch, length, -1), f"{name}.attention.output.dense")
        x = norm(x + seen, f"{name}.attention.output.LayerNorm")
        wide = linear(x, f"{name}.intermediate.dense")
        wide = wide * (1 + mx.erf(wide / math.sqrt(2))) / 2
        x = norm(x + linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    mean = x.mean(axis=1)
    return mean / mx.linalg.norm(mean, axis=-1, keepdims=True)


class SentenceTransformers:
    """Any other encoder, as sentence-transformers runs it."""

    def __init__(self, found: Located) -> None:
        try:
            from sentence_transformers import (  # type: ignore[import-not-found, unused-ignore]
                SentenceTransformer,
            )
        except ImportError:
            raise DuomemError(
                f"The encoder {found.name} needs sentence-transformers, which is not installed.",
                "Run `pip install 'duomem-mlx[sentence-transformers]'`, or use the default encoder.",
            ) from None
        try:
            self._model = SentenceTransformer(str(found.path))
            self.dimensions = int(self.encode(["probe"]).shape[1])
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, ImportError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise DuomemError(
                f"The encoder {found.name} cannot be loaded from {found.path}: {reason}.",
                "Name a model that sentence-transformers opens.",
            ) from None
        self.id = found.name
        self.max_tokens = int(self._model.max_seq_length)
        self.fingerprint = digest([found.identity, "sentence-transformers", self.dimensions, self.max_tokens])

    def encode(self, texts: Sequence[str]) -> Floats:
        """float32 [N, dimensions], rows of unit length in the order of the texts."""
        if isinstance(texts, str):
            raise TypeError("a sequence of texts is wanted, not one text")
        if not len(texts):
            return np.empty((0, self.dimensions), np.float32)
        vectors = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)
