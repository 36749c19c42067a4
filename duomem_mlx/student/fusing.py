"""An adapter fused into its base: one model that mlx-lm, and what is built on it, opens without an adapter."""

import math
import os
import shutil
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from duomem_mlx.paths import disk_faults, write_json
from duomem_mlx.student.adapters import RECORD
from duomem_mlx.student.models import Student
from duomem_mlx.student.saving import write_arrays

GROUP = 64  # weights that share a scale; 32 where a layer's width is no multiple of it
KEPT = ("*.json", "*.jinja", "*.txt", "*.model", "*.py")  # of the base's files; not its weights


@dataclass(frozen=True)
class Fused:
    """A student whose adapter is part of its weights."""

    student: Student  # without an adapter; its config says how it is packed
    bits: int | None  # None: not quantized
    rounding: float  # how far rounding moves the adapted weights, in lengths of what the adapter changed in them


def bits_of(config: Mapping[str, Any]) -> int | None:
    """Bits a weight of a model, by its configuration; None where it is not quantized."""
    return (config.get("quantization") or {}).get("bits")


def fuse(student: Student, bits: int | None) -> Fused:
    """Fuse the student's adapter into its model, in place, and quantize to `bits`. A base of as many bits keeps its own
    format, layer by layer; any other quantized base is dequantized first."""
    from mlx_lm.utils import dequantize_model, quantize_model

    model, config = student.model, dict(student.config)
    kept = bits is not None and bits == bits_of(config)
    learnt = lost = 0.0
    for name, layer in [(name, layer) for name, layer in model.named_modules() if hasattr(layer, "fuse")]:
        whole = layer.fuse(dequantize=True)
        base = layer.linear if "linear" in layer else layer.embedding
        final = layer.fuse() if kept else whole
        if bits is not None:
            rounded = _weight(final) if kept else _rounded(whole.weight, bits)
            change, error = _length(whole.weight - _weight(base)), _length(rounded - whole.weight)
            learnt, lost = math.hypot(learnt, change), math.hypot(lost, error)
        model.update_modules(tree_unflatten([(name, final)]))
        mx.eval(final.parameters())
    if not kept:
        dequantize_model(model)
        config = {name: value for name, value in config.items() if not name.startswith("quantization")}
        if bits is not None:
            widths = [array.shape[-1] for _, array in tree_flatten(model.parameters()) if array.ndim > 1]
            with redirect_stdout(StringIO()):
                _, config = quantize_model(model, config, _group(widths), bits)
    model.eval()
    mx.eval(model.parameters())
    bare = replace(student, config=config, adapter=None, adapter_identity=None, warnings=())
    return Fused(bare, bits, lost / learnt if learnt else 0.0)


def save(fused: Fused, folder: Path, record: Mapping[str, Any]) -> None:
    """Write the model's folder, whole or not at all: weights, configuration, the base's tokenizer, and `record` as
    duomem.json. What was at `folder` is replaced. Raises DuomemError when the disk refuses."""
    from mlx_lm.utils import make_shards, save_config

    part = folder.with_name(f".{folder.name}.part")
    with disk_faults(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for pattern in KEPT:
            for file in fused.student.folder.glob(pattern):
                shutil.copyfile(file, part / file.name)
        (part / "model.safetensors.index.json").unlink(missing_ok=True)
        save_config(dict(fused.student.config), part / "config.json")
        shards = make_shards(dict(tree_flatten(fused.student.model.parameters())))
        places: dict[str, str] = {}
        for number, shard in enumerate(shards, 1):
            name = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            write_arrays(part / name, shard, {"format": "mlx"})
            places |= dict.fromkeys(sorted(shard), name)
        if len(shards) > 1:
            size = sum(array.nbytes for shard in shards for array in shard.values())
            write_json(part / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": places})
        write_json(part / RECORD, record)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)


def _weight(layer: Any) -> mx.array:
    if "scales" not in layer:
        plain: mx.array = layer.weight
        return plain
    return mx.dequantize(
        layer.weight, layer.scales, layer.get("biases"), group_size=layer.group_size, bits=layer.bits, mode=layer.mode
    )


def _rounded(weight: mx.array, bits: int) -> mx.array:
    group = _group([weight.shape[-1]])
    return mx.dequantize(*mx.quantize(weight, group, bits), group, bits)


def _group(widths: list[int]) -> int:
    return GROUP if all(width % GROUP == 0 for width in widths) else GROUP // 2


def _length(change: mx.array) -> float:
    squares: Any = change.astype(mx.float32).square().sum().item()
    return math.sqrt(squares)
