"""The machine: what figures were measured on, and how much memory it has to give."""

import os
import platform
import re
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from duomem_mlx.errors import UsageError

SHARE_OF_FREE = 0.9  # of what is free, since others want some too
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SUPPLIES = Path("/sys/class/power_supply")
MAINS, BATTERY = "mains", "battery"


def machine_record() -> dict[str, Any]:
    """Chip, MLX's device, memory in GB, cores, system, power and versions: no figure means anything without them."""
    import mlx.core as mx

    return {
        "chip": _chip(),
        "device": mx.default_device().type.name,
        "ram_gb": round(total_bytes() / 2**30),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "power": power_source(),
        "mlx": version("mlx"),
        "mlx_lm": version("mlx-lm"),
    }


def power_source() -> str | None:
    """ "mains" or "battery", by `pmset` on a Mac and by the kernel's list of supplies on Linux; None where nothing says
    so, as in most machines without a battery."""
    if sys.platform == "darwin":
        return _of_pmset(_said_by("pmset", "-g", "batt"))
    return _of_supplies(SUPPLIES)


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


def peak_resident_bytes() -> int:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_array_bytes() -> int:
    """The most that MLX's arrays have taken so far."""
    import mlx.core as mx

    return mx.get_peak_memory()


def process_age() -> float:
    """Seconds since this process was started, to a hundredth."""
    if platform.system() == "Linux":  # psutil counts from the second in which the machine was booted
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    import psutil

    return time.time() - float(psutil.Process().create_time())


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
        return _said_by("sysctl", "-n", "machdep.cpu.brand_string").strip() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _said_by(*command: str) -> str:
    """Standard output of a tool of the system; empty where it is missing."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _of_pmset(said: str) -> str | None:
    """Its first line is `Now drawing from 'AC Power'`, or 'Battery Power', or 'UPS Power'."""
    found = re.search(r"drawing from '(\w+) Power'", said)
    if found is None:
        return None
    return MAINS if found[1] == "AC" else BATTERY


def _of_supplies(folder: Path) -> str | None:
    states = set()
    for supply in sorted(folder.glob("*")):
        kind, online, status, scope = (_line(supply / name) for name in ("type", "online", "status", "scope"))
        if scope == "Device":  # a mouse's
            continue
        if kind == "Battery":
            states.add(BATTERY if status == "Discharging" else MAINS if status in ("Charging", "Full") else None)
        elif online in ("0", "1"):
            states.add(MAINS if online == "1" else None)
    return next((state for state in (MAINS, BATTERY) if state in states), None)


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
