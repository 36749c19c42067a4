"""What a student takes of the machine's memory in play, by its files alone, and how many games that leaves room for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from duomem_mlx.errors import DuomemError
from duomem_mlx.student import beginnings
from duomem_mlx.student.answering import PASS_TOKENS
from duomem_mlx.student.fusing import bits_of

MOST_WIDTH = 16  # games together; more were not seen to be quicker on a CPU
PROCESS_BYTES = 400 << 20  # Python, MLX and mlx-lm, the encoder and a bank: 0.3 GB was seen on Linux
ACTIVATIONS = 4  # copies of a block's widest activation that a pass holds at once


@dataclass(frozen=True)
class Footprint:
    """Of one student, in bytes."""

    dtype: str  # it computes in
    bits: int | None  # a weight, where they are packed
    weights: int
    a_token: int | None  # of cache, at most; None where the configuration does not say
    a_pass: int  # while it computes
    context: int | None  # tokens it can hold at all

    def of_games(self, width: int, context: int) -> int:
        """With so many games together, each with a history of `context` tokens, and what their starts share."""
        tokens = width * context + min(context, beginnings.MOST)
        return self.weights + self.a_pass + PROCESS_BYTES + tokens * (self.a_token or 0)

    def width(self, ram: int, context: int) -> int:
        """How many games together `ram` bytes hold, at most MOST_WIDTH; 0 where they do not hold one."""
        each = context * (self.a_token or 0)
        left = ram - self.of_games(0, context)
        if each == 0:
            return MOST_WIDTH if left >= 0 else 0
        return min(MOST_WIDTH, max(0, left // each))


def footprint(folder: Path, config: Mapping[str, Any], dtype: str, stored: int | None = None) -> Footprint:
    """Of the model in `folder`, computing in `dtype`; no weight is read. `stored`: bytes of its weights files, where
    they are not there. Raises DuomemError for a torn file."""
    weights = weight_bytes(folder, dtype) if stored is None else _loaded(stored, config, dtype)
    return Footprint(
        dtype=dtype,
        bits=bits_of(config),
        weights=weights,
        a_token=cache_bytes(config, dtype),
        a_pass=pass_bytes(config, dtype),
        context=_inner(config).get("max_position_embeddings"),
    )


def weight_bytes(folder: Path, dtype: str) -> int:
    """Of all weights, once those that are floating numbers are in `dtype`."""
    size = getattr(mx, dtype).size
    total = 0
    for file in sorted(folder.glob("model*.safetensors")):
        try:
            arrays: Any = mx.load(str(file))  # lazily: names, shapes and types
        except (RuntimeError, ValueError) as error:
            raise DuomemError(
                f"{file} cannot be read ({str(error).splitlines()[0]}).", "Fetch or convert the model again."
            ) from None
        for array in arrays.values():
            total += array.size * size if mx.issubdtype(array.dtype, mx.floating) else array.nbytes
    return total


def _loaded(stored: int, config: Mapping[str, Any], dtype: str) -> int:
    kept = getattr(mx, str(_inner(config).get("torch_dtype") or _inner(config).get("dtype")), None)
    if bits_of(config) or not isinstance(kept, mx.Dtype):
        return stored
    return int(stored * getattr(mx, dtype).size / kept.size)


def cache_bytes(config: Mapping[str, Any], dtype: str) -> int | None:
    """Of keys and values a token, as if every layer kept every token; layers with a window or a state keep less."""
    inner = _inner(config)
    layers, hidden, heads = (inner.get(key) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    if not (layers and hidden and heads):
        return None
    groups = inner.get("num_key_value_heads") or heads
    features = max(inner.get("head_dim") or hidden // heads, inner.get("global_head_dim") or 0)
    return int(2 * layers * groups * features * getattr(mx, dtype).size)


def pass_bytes(config: Mapping[str, Any], dtype: str) -> int:
    """Of what a pass over PASS_TOKENS tokens holds besides: activations, and on a CPU one block's scores."""
    inner = _inner(config)
    widest = max(inner.get("intermediate_size") or 0, 4 * (inner.get("hidden_size") or 1024))
    scores = (inner.get("num_attention_heads") or 16) * PASS_TOKENS * PASS_TOKENS
    on_cpu = mx.default_device().type == mx.cpu
    return int((ACTIVATIONS * widest * PASS_TOKENS + (scores if on_cpu else 0)) * getattr(mx, dtype).size)


def _inner(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**config, **config.get("text_config", {})}
