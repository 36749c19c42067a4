"""An adapter in the format of PEFT, for what reads LoRA from the Hub and is not MLX.

y = Wx + (alpha / r) · B A x, with A = `lora_A.weight` [r, inputs] and B = `lora_B.weight` [outputs, r]: mlx-lm's
matrices, transposed, and alpha = scale · r. DoRA's magnitudes are the same numbers in both.
"""

import re
from pathlib import Path

import mlx.core as mx

from duomem_mlx.errors import UsageError
from duomem_mlx.paths import read_json, write_json
from duomem_mlx.student.adapters import CONFIG, check_files, described, read_weights
from duomem_mlx.student.saving import save_arrays

PEFT_WEIGHTS = "adapter_model.safetensors"
LEAVES = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}
_BLOCK = re.compile(r".*\blayers\.(?P<number>\d+)\.(?P<within>.+)")


def export(adapter: Path, folder: Path, base: str | None) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json` into `folder`; `base` is the base's Hub id.

    Layers keep their names, which for most families are those of transformers. Raises UsageError when there is no
    adapter or it is one of experts, which PEFT has no layer for, and DuomemError when it is torn or the disk refuses.
    """
    check_files(adapter)
    config = read_json(adapter / CONFIG, "adapter config")
    weights = read_weights(adapter)
    renamed: dict[str, mx.array] = {}
    layers: set[str] = set()
    for name, array in weights.items():
        layer, _, leaf = name.rpartition(".")
        if leaf not in LEAVES:
            raise UsageError(f"{name} in {adapter} is no part of a LoRA.", "Name an adapter that `train` made.")
        if array.ndim > 2:
            raise UsageError(
                f"{layer} is a layer of experts, which PEFT has no LoRA for.", "Train with --targets that leave it out."
            )
        layers.add(layer)
        renamed[f"base_model.model.{layer}.{LEAVES[leaf]}"] = mx.contiguous(array.T)
    with described(adapter):
        lora = config["lora_parameters"]
        rank, scale, dropout = int(lora["rank"]), float(lora["scale"]), float(lora["dropout"])
    mx.eval(renamed)
    folder.mkdir(parents=True, exist_ok=True)
    save_arrays(folder / PEFT_WEIGHTS, renamed, {"format": "pt"})
    write_json(
        folder / CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "inference_mode": True,
            "r": rank,
            "lora_alpha": scale * rank,
            "lora_dropout": dropout,
            "target_modules": _targets(layers),
            "bias": "none",
            "fan_in_fan_out": False,
            "use_dora": config.get("fine_tune_type") == "dora",
            "use_rslora": False,
        },
    )


def _targets(layers: set[str]) -> list[str]:
    """Names within a block where all blocks have them, else every layer by its whole name."""
    found = [match for match in map(_BLOCK.fullmatch, layers) if match]
    within = {match["within"] for match in found}
    blocks = {int(match["number"]) for match in found}
    everywhere = len(found) == len(layers) == len(within) * len(blocks) and 0 in blocks
    return sorted(within if everywhere else layers)
