"""A whole model packed in 4 or 8 bits, by mlx-lm's own quantization.

The default student is the exception: its GGUF holds 4-bit blocks already, which carry over without being rounded a
second time.
"""

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from duomem_mlx.errors import UsageError
from duomem_mlx.models_on_disk import Located
from duomem_mlx.student import gguf
from duomem_mlx.student.fusing import bits_of, usual_group
from duomem_mlx.student.models import default_dtype, read_model, stored_dtype, student_folder

GROUPS = (32, 64, 128)  # what MLX packs
CARRIED_BITS = 4

Report = Callable[[int, int], None]  # layers packed, layers in all


@dataclass(frozen=True)
class Converted:
    """A packed model that is in memory."""

    weights: dict[str, mx.array]
    config: dict[str, Any]
    like: Path  # the folder whose tokenizer it has
    group: int  # weights that share a scale
    dtype: str  # of scales and of what is not packed
    carried: bool  # the blocks are those of the GGUF
    whole: tuple[str, ...]  # layers that are no multiple of a group wide, and are not packed


def convert(
    located: Located, bits: int, group: int | None = None, dtype: str | None = None, report: Report = lambda *_: None
) -> Converted:
    """Pack a model's linear layers and embeddings in `bits` (4 or 8), a scale and a bias for every `group` weights
    (32, 64 or 128; default 64, or 32 where a layer's width asks for it; the default student's own 32 in 4 bits), these
    in `dtype` (default what suits the device, as when a model is loaded).

    Raises UsageError for a model that is packed already and for a group that fits no layer, DuomemError for what
    cannot be read.
    """
    if located.kind == "gguf" and bits == CARRIED_BITS and group in (None, gguf.GROUP):
        return _carried(located, dtype or default_dtype())
    like = student_folder(located.name, "float32" if located.kind == "gguf" else None)
    model, config = read_model(like, located.name)
    if packed := bits_of(config):
        raise UsageError(
            f"{located.name} is packed in {packed} bits already.", "Convert the whole model it was made from."
        )
    dtype = dtype or default_dtype(stored_dtype(model))
    model.set_dtype(getattr(mx, dtype))
    widths = {
        name: module.weight.shape[-1] for name, module in model.named_modules() if hasattr(module, "to_quantized")
    }
    group = group or usual_group(list(widths.values()))
    whole = tuple(sorted(name for name, width in widths.items() if width % group))
    if len(whole) == len(widths):
        raise UsageError(f"No layer of {located.name} is a multiple of {group} wide.", "Use a smaller --group-size.")
    config = _packed(model, config, group, bits, report)
    config["torch_dtype"] = dtype
    return Converted(dict(tree_flatten(model.parameters())), config, like, group, dtype, False, whole)


def _packed(model: Any, config: dict[str, Any], group: int, bits: int, report: Report) -> dict[str, Any]:
    """Pack the model's layers one after the other, so that no more than one of them is whole in memory."""
    from mlx_lm.utils import quantize_model

    with redirect_stdout(StringIO()):
        _, config = quantize_model(model, config, group, bits)
    layers = [module for _, module in model.named_modules() if not module.children()]
    for number, layer in enumerate(layers, 1):
        mx.eval(layer.parameters())
        report(number, len(layers))
    mx.eval(model.parameters())
    return config


def _carried(located: Located, dtype: str) -> Converted:
    source = gguf.read(located.path)
    weights = {
        name: array.astype(getattr(mx, dtype)) if mx.issubdtype(array.dtype, mx.floating) else array
        for name, array in source.weights.items()
    }
    mx.eval(weights)
    quantization = {"group_size": gguf.GROUP, "bits": CARRIED_BITS, "mode": "affine"}
    others = {name: {"group_size": gguf.GROUP, "bits": bits} for name, bits in gguf.BITS.items()}
    config = {**source.config, "torch_dtype": dtype, "quantization": {**quantization, **others}}
    return Converted(weights, config, student_folder(located.name), gguf.GROUP, dtype, True, ())
