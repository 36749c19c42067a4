"""A quick BLAS for MLX on Linux, loaded before MLX is.

MLX's wheel for Linux carries the reference BLAS. Symbols of a library that is already loaded globally win over it,
so one `ctypes.CDLL` before the first `import mlx.core` makes float32 products some twenty times quicker; afterwards
it has no effect. A module that imports MLX, or lies in a package that does, calls `load_openblas()` first.
"""

import ctypes
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

LOADER_NAME = "libopenblas.so.0"
# Turns a waiting OpenMP thread spins before it sleeps. By default libgomp spins for milliseconds, so that on a machine
# with other work a product waits for threads that cannot run: measured 4 to 5 times slower for a whole model.
SPINS = "1000"
# OpenBLAS picks its kernels by the processor's model number, and takes those of 2004 (Prescott) for one that came after
# it: faiss's copy, 0.3.15, on a Zen 5 computes 48 GFLOP/s a core where SkylakeX's kernels reach 240. What a processor
# can do stands in its flags. Newer copies know more names than these, with the same float32 products.
KERNELS = (("SkylakeX", {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}), ("Haswell", {"avx2", "fma"}))
WHEEL_ORDER = ("libquadmath", "libgfortran", "libgomp", "libopenblas")  # each needs those before it


@dataclass(frozen=True)
class Status:
    """What came of loading: `library` is the path or name that was loaded, `fault` why none was, or why the one
    that `$DUOMEM_OPENBLAS` names was not."""

    needed: bool  # False on macOS, where MLX uses the system's own
    library: str | None
    fault: str | None


_status: Status | None = None


def load_openblas() -> str | None:
    """Load OpenBLAS once, on Linux only: `$DUOMEM_OPENBLAS`, else the one the dynamic loader finds (Debian's
    libopenblas0), else the copy inside the faiss-cpu wheel. The name of what was loaded, None when nothing was."""
    return status().library


def status() -> Status:
    """What was loaded, loading it first if nobody has asked yet. Raises nothing."""
    global _status
    if _status is None:
        _status = _load()
    return _status


def _load() -> Status:
    if not sys.platform.startswith("linux"):
        return Status(needed=False, library=None, fault=None)
    if "mlx.core" in sys.modules:
        return Status(True, None, "MLX was imported before it; import duomem_mlx's modules before mlx")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if kernels := kernels_for(_processor()):
        os.environ.setdefault("OPENBLAS_CORETYPE", kernels)
    fault = None
    if chosen := os.environ.get("DUOMEM_OPENBLAS"):
        if _opens([chosen]):
            return Status(True, chosen, None)
        fault = f"$DUOMEM_OPENBLAS names {chosen}, which cannot be loaded"
    if _opens([LOADER_NAME]):
        return Status(True, LOADER_NAME, fault)
    bundled = _faiss_libraries()
    if bundled and _opens(bundled):
        return Status(True, bundled[-1], fault)
    return Status(True, None, fault or "no OpenBLAS was found")


def kernels_for(cpuinfo: str) -> str | None:
    """OpenBLAS's name for the best kernels that a processor can run, from the text of /proc/cpuinfo; None where it
    names none of their flags (another architecture)."""
    line = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    flags = set(line.partition(":")[2].split())
    return next((name for name, needed in KERNELS if needed <= flags), None)


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _opens(names: list[str]) -> bool:
    try:
        for name in names:
            ctypes.CDLL(name, ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def _faiss_libraries() -> list[str]:
    """The libraries beside the faiss-cpu wheel in loading order, found without importing faiss."""
    try:
        spec = importlib.util.find_spec("faiss")
    except (ImportError, ValueError):
        return []
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent.parent / "faiss_cpu.libs"
    found = [sorted(folder.glob(f"{name}*.so*")) for name in WHEEL_ORDER]
    return [str(paths[0]) for paths in found if paths] if found[-1] else []
