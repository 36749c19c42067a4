"""Arrays to disk, whole or not at all."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx

from duomem_mlx.paths import replacing


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
