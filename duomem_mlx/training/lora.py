"""LoRA and DoRA through mlx-lm's layers, and the adapter folder that mlx-lm opens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map

from duomem_mlx.errors import UsageError
from duomem_mlx.paths import read_json, write_json
from duomem_mlx.student.adapters import CONFIG, LEAVES, RECORD, WEIGHTS
from duomem_mlx.student.saving import save_arrays

RANKS = (16, 8, 4)
MOST_PARAMETERS = 10_000_000  # the paper's students stay below it (arXiv 2606.29961)

Weights = Mapping[str, mx.array]


def linear_names(model: Any) -> list[str]:
    """Names, within a block, of the layers that can carry LoRA: every linear one, no embedding."""
    from mlx import nn
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

    kinds = (nn.Linear, nn.QuantizedLinear, SwitchLinear, QuantizedSwitchLinear)
    names = {name for block in model.layers for name, module in block.named_modules() if isinstance(module, kinds)}
    return sorted(names)


def chosen_names(model: Any, targets: Sequence[str]) -> list[str]:
    """The layers that `targets` mean: ends of names such as q_proj or mlp.down_proj; all of them for none.

    Raises UsageError naming a target that no layer has.
    """
    names = linear_names(model)
    if not targets:
        return names
    for target in targets:
        if not any(_is(name, target) for name in names):
            raise UsageError(f"No layer is called {target!r}.", f"--targets may name {', '.join(names)}.")
    return [name for name in names if any(_is(name, target) for target in targets)]


def _is(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def default_rank(model: Any, names: Sequence[str], num_layers: int) -> int:
    """The largest of 16, 8 and 4 with fewer than ten million parameters, else 4."""
    each = sum(
        inputs + outputs
        for block in model.layers[-max(num_layers, 0) :]
        for name, module in block.named_modules()
        if name in names
        for inputs, outputs in [_shape(module)]
    )
    return next((rank for rank in RANKS if rank * each < MOST_PARAMETERS), RANKS[-1])


def _highest_rank(model: Any, names: Sequence[str], num_layers: int) -> int:
    """More adds nothing: a matrix's rank is at most its smaller side."""
    blocks = model.layers[-num_layers:]
    return min(min(_shape(module)) for block in blocks for name, module in block.named_modules() if name in names)


def _shape(module: Any) -> tuple[int, int]:
    *_, outputs, packed = module.weight.shape
    return packed * 32 // module.bits if "scales" in module else packed, outputs


def add_lora(
    model: Any,
    rank: int | None,
    scale: float,
    dropout: float,
    targets: Sequence[str],
    num_layers: int,
    seed: int,
    kind: str = "lora",
) -> dict[str, Any]:
    """Freeze `model`, quantized or not, and give its last `num_layers` blocks (below 1: all) LoRA or DoRA layers, drawn
    from `seed`, in place.

    Returns what adapter_config.json holds. Raises UsageError for unknown targets, more blocks or a higher rank than
    there can be, or DoRA on layers that mlx-lm has none for.
    """
    from mlx_lm.tuner.utils import linear_to_lora_layers

    blocks = len(model.layers)
    if num_layers > blocks:
        raise UsageError(f"--num-layers is {num_layers}, the model has {blocks}.", "Name fewer, or -1 for all.")
    num_layers = num_layers if num_layers > 0 else blocks
    names = chosen_names(model, targets)
    if rank is not None and rank > (most := _highest_rank(model, names, num_layers)):
        raise UsageError(f"--rank is {rank}, but a layer it is for has {most} features.", f"Name {most} at most.")
    parameters = {
        "rank": rank or default_rank(model, names, num_layers),
        "scale": scale,
        "dropout": dropout,
        "keys": names,
    }
    mx.random.seed(seed)
    model.freeze()
    try:
        linear_to_lora_layers(model, num_layers, parameters, use_dora=kind == "dora")
    except ValueError as error:  # mlx-lm has no DoRA for the experts of a mixture
        raise UsageError(f"This model's layers take no DoRA: {error}", "Use --fine-tune-type lora.") from None
    mx.eval(model.parameters())
    return {"fine_tune_type": kind, "num_layers": num_layers, "lora_parameters": parameters}


def reopen_lora(model: Any, folder: Path) -> dict[str, Any]:
    """Let the layers that `model` has from the adapter in `folder` be trained on, in float32, and nothing else.

    Returns what adapter_config.json holds: rank, scale, dropout and targets are the adapter's own.
    """
    model.freeze()
    model.unfreeze(keys=list(LEAVES))
    model.update(tree_map(lambda array: array.astype(mx.float32), model.trainable_parameters()))
    mx.eval(model.parameters())
    config = read_json(folder / CONFIG, "adapter config")
    return {name: config[name] for name in ("fine_tune_type", "num_layers", "lora_parameters") if name in config}


def trainable(model: Any) -> dict[str, mx.array]:
    """The adapter's arrays by name, sorted."""
    return dict(sorted(tree_flatten(model.trainable_parameters())))


def save_adapter(
    folder: Path, weights: Weights, config: Mapping[str, Any], record: Mapping[str, Any], half: bool = False
) -> None:
    """Write the three files of an adapter, each whole or not at all, duomem.json last: where it is, all are."""
    stored = {name: array.astype(mx.float16) if half else array for name, array in sorted(weights.items())}
    mx.eval(stored)
    save_arrays(folder / WEIGHTS, stored, {"format": "mlx"})
    write_json(folder / CONFIG, config)
    write_json(folder / RECORD, {"format": 1, **record})
