"""The machine: what figures were measured on, and how much memory it has to give."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from duomem_mlx.errors import UsageError

SHARE_OF_FREE = 0.9  # of what is free, since others want some too
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def machine_record() -> dict[str, Any]:
    """Chip, MLX's device, memory in GB, cores, system and versions: no figure means anything without them."""
    import mlx.core as mx

    return {
        "chip": _chip(),
        "device": mx.default_device().type.name,
        "ram_gb": round(total_bytes() / 2**30),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "mlx": version("mlx"),
        "mlx_lm": version("mlx-lm"),
    }


def size_in_bytes(text: str) -> int:
    """8GB, 8 GiB, 500M or 7.5g: all of them powers of two, as makers of machines count memory. Raises UsageError for
    anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT])i?B?\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"{text!r} is no size.", "Write 8GB or 500MB.")
    return int(float(found[1]) * UNITS[found[2].upper()])


def resident_bytes() -> int:
    """What this process holds of the machine's memory now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def total_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def usable_bytes() -> int:
    """What this process may grow to: what it holds and nine tenths of what is free, and not more than a Mac recommends
    for its GPU or a container allows."""
    import mlx.core as mx
    import psutil

    bounds = [resident_bytes() + int(SHARE_OF_FREE * psutil.virtual_memory().available)]
    if mx.default_device().type != mx.cpu and (recommended := mx.device_info().get("max_recommended_working_set_size")):
        bounds.append(int(recommended))
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if (path := Path(limit)).is_file() and (allowed := path.read_text().strip()).isdigit():
            bounds.append(int(SHARE_OF_FREE * int(allowed)))
    return min(bounds)


def _chip() -> str:
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
