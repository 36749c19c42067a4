"""Arrays and models to disk, whole or not at all."""

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from duomem_mlx.paths import alone_in, disk_faults, replacing, write_json
from duomem_mlx.student.adapters import RECORD

KEPT = ("*.json", "*.jinja", "*.txt", "*.model", "*.py")  # of a model's files; not its weights
INDEX = "model.safetensors.index.json"
LEFT = (INDEX, "repacked.json")  # they speak of the weights that were there


def save_arrays(path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """Replace the safetensors file at `path`. Raises DuomemError as `paths.replacing` does."""
    with replacing(path) as part:
        write_arrays(part, arrays, metadata)


def write_arrays(path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file. Raises OSError where MLX says that it could not, or left it short without a word."""
    try:
        mx.save_safetensors(str(path), dict(arrays), dict(metadata))
    except RuntimeError as error:
        number = errno.ENOSPC if "Unable to write" in str(error) else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from None
    if path.stat().st_size < sum(array.nbytes for array in arrays.values()):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def save_model(
    weights: Mapping[str, mx.array], config: Mapping[str, Any], like: Path, folder: Path, record: Mapping[str, Any]
) -> None:
    """Write a model's folder, whole or not at all: weights, configuration, the tokenizer of the model in `like`, and
    `record` as duomem.json. What was at `folder` is replaced. Raises DuomemError when the disk refuses, or when another
    process is at it."""
    from mlx_lm.utils import make_shards, save_config

    part = folder.with_name(f".{folder.name}.part")
    with disk_faults(folder), alone_in(part):
        try:
            for left in part.iterdir():  # by a process that was killed
                left.unlink()
            for file in (file for pattern in KEPT for file in like.glob(pattern) if file.name not in LEFT):
                shutil.copyfile(file, part / file.name)
            save_config(dict(config), part / "config.json")
            _write_shards(part, make_shards(dict(weights)))
            write_json(part / RECORD, record)
            for file in part.iterdir():
                with file.open("rb+") as handle:
                    os.fsync(handle.fileno())
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _write_shards(folder: Path, shards: Sequence[Mapping[str, mx.array]]) -> None:
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_arrays(folder / name, shard, {"format": "mlx"})
        places |= dict.fromkeys(sorted(shard), name)
    if len(shards) > 1:
        size = sum(array.nbytes for shard in shards for array in shard.values())
        write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": places})
