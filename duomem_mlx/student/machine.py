"""The machine that figures were measured on."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine_record() -> dict[str, Any]:
    """Chip, MLX's device, memory in GB, cores, system and versions: no figure means anything without them."""
    import mlx.core as mx

    return {
        "chip": _chip(),
        "device": mx.default_device().type.name,
        "ram_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "mlx": version("mlx"),
        "mlx_lm": version("mlx-lm"),
    }


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
