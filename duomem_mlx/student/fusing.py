"""An adapter fused into its base: one model that mlx-lm, and what is built on it, opens without an adapter."""

import math
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from duomem_mlx.student.models import Student
from duomem_mlx.student.saving import save_model

GROUP = 64  # weights that share a scale; 32 where a layer's width is no multiple of it


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
                _, config = quantize_model(model, config, usual_group(widths), bits)
    model.eval()
    mx.eval(model.parameters())
    bare = replace(student, config=config, adapter=None, adapter_identity=None, warnings=())
    return Fused(bare, bits, lost / learnt if learnt else 0.0)


def save(fused: Fused, folder: Path, record: Mapping[str, Any]) -> None:
    """Write the model's folder as `saving.save_model` does."""
    student = fused.student
    save_model(dict(tree_flatten(student.model.parameters())), student.config, student.folder, folder, record)


def _weight(layer: Any) -> mx.array:
    if "scales" not in layer:
        plain: mx.array = layer.weight
        return plain
    return mx.dequantize(
        layer.weight, layer.scales, layer.get("biases"), group_size=layer.group_size, bits=layer.bits, mode=layer.mode
    )


def _rounded(weight: mx.array, bits: int) -> mx.array:
    group = usual_group([weight.shape[-1]])
    return mx.dequantize(*mx.quantize(weight, group, bits), group, bits)


def usual_group(widths: list[int]) -> int:
    """Weights that share a scale, of layers that are so wide."""
    return GROUP if all(width % GROUP == 0 for width in widths) else GROUP // 2


def _length(change: mx.array) -> float:
    squares: Any = change.astype(mx.float32).square().sum().item()
    return math.sqrt(squares)
