"""What works on this machine, what is missing, and the fix.

It looks only: nothing is fetched or mended, and all it keeps is the hashes of the models it looked at.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from duomem_mlx import blas, paths
from duomem_mlx.defaults import Need
from duomem_mlx.doctor.checks import ABSENT, FAIL, OK, WARN, Check, safely
from duomem_mlx.environment import DEFAULT, find_environment, installed_environments
from duomem_mlx.models_on_disk import ENCODER, STUDENT, locate

PYTHONS = ((3, 11), (3, 14))  # from, and up to but not with
OLDEST_MACOS = 14  # what MLX's wheels are built for
MLX_LM = "0.32"  # the versions whose inside we know
TIGHT_BYTES, FULL_BYTES = 3 << 30, 1 << 30  # free space: a run's outputs are small, the repacked student is 0.54 GB
EXTRAS = {
    "alfworld": (("textworld", "alfworld"), "the reference engine and ALFWorld's downloader; builds C++ with cmake"),
    "scienceworld": (("scienceworld", "py4j"), "the world of that name; its simulator needs Java"),
    "report": (("matplotlib", "jinja2"), "`report`"),
    "play": (("prompt_toolkit",), "completion and history in `games play`"),
    "sentence-transformers": (("sentence_transformers",), "any other encoder; brings torch"),
}


def examine(games_dir: Path | None = None) -> list[Check]:
    """All checks, in the order a person would mend them. `games_dir` is where the default world's games lie, found as
    everywhere when None. Raises nothing: a check that breaks is itself a fault."""
    blas.load_openblas()
    checks: list[tuple[str, Callable[[], Check | list[Check]]]] = [
        ("python", _python),
        ("mlx", _mlx),
        ("mlx-lm", _mlx_lm),
        ("blas", _blas),
        ("student", lambda: _model("student", STUDENT)),
        ("encoder", lambda: _model("encoder", ENCODER)),
        ("adapters", lambda: _shipped("adapters", "adapters.safetensors")),
        ("memories", lambda: _shipped("memories", "bank.json")),
        ("worlds", lambda: _worlds(games_dir)),
        ("home", _home),
        ("disk", _disk),
        ("extras", _extras),
    ]
    return [check for name, look in checks for check in safely(name, look)]


def _python() -> Check:
    version = platform.python_version()
    found = f"{version}, {platform.machine()}, {sys.executable}"
    if not PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]:
        return Check("python", FAIL, found, "Use Python 3.11, 3.12 or 3.13, for example `uv venv --python 3.12`.")
    if platform.system() != "Darwin":
        return Check("python", OK, found)
    if platform.machine() != "arm64":
        asked = subprocess.run(
            ["sysctl", "-in", "sysctl.proc_translated"], capture_output=True, text=True, check=False
        ).stdout.strip()
        if asked == "1":
            fix = "Install a native one, for example `uv python install 3.12`; MLX does not run under Rosetta."
            return Check("python", FAIL, f"{found}, under Rosetta", fix)
        return Check("python", FAIL, found, "MLX needs a Mac with Apple silicon.")
    system = platform.mac_ver()[0]
    if int(system.split(".")[0] or 0) < OLDEST_MACOS:
        return Check("python", FAIL, f"{found}, macOS {system}", f"Update macOS; MLX needs {OLDEST_MACOS} or later.")
    return Check("python", OK, f"{found}, macOS {system}")


def _mlx() -> Check:
    from duomem_mlx.student.machine import machine_record

    machine = machine_record()
    found = f"{machine['mlx']} on the {machine['device']}, {machine['chip']}, {machine['ram_gb']} GB"
    if platform.system() == "Darwin" and machine["device"] == "cpu":
        return Check("mlx", WARN, found, "Metal is not available here; MLX runs on the CPU, much slower.")
    return Check("mlx", OK, found)


def _mlx_lm() -> Check:
    version = importlib.metadata.version("mlx-lm")
    if version.startswith(f"{MLX_LM}."):
        return Check("mlx-lm", OK, version)
    return Check("mlx-lm", WARN, f"{version}, not {MLX_LM}", f"Run `pip install 'mlx-lm>={MLX_LM}.2,<0.33'`.")


def _blas() -> Check:
    status = blas.status()
    if not status.needed:
        return Check("blas", OK, "the system's own")
    fix = "Run `apt install libopenblas0`, or `pip install faiss-cpu`, whose copy is used; MLX is far slower without."
    if status.library is None:
        return Check("blas", WARN, str(status.fault), fix)
    if status.fault:
        return Check(
            "blas", WARN, f"{status.fault}; {status.library} is used", "Set DUOMEM_OPENBLAS right, or unset it."
        )
    return Check("blas", OK, f"OpenBLAS, {status.library}")


def _model(role: str, name: str) -> Check:
    found = locate(name, fetch=False)
    return Check(role, OK, f"{name} from the {found.source}, hash right, {found.path}")


def _shipped(room: str, mark: str) -> Check:
    """Folders with the file `mark` where an installed wheel and where a checkout keep what is shipped."""
    places = [root / room for root in (paths.PACKAGE / "shipped", paths.PACKAGE.parent)]
    names = sorted({found.parent.name for place in places for found in place.glob(f"*/{mark}")})
    if names:
        return Check(room, OK, ", ".join(names))
    return Check(room, WARN, "none came with this installation", "Make them with `scripts/reproduce.sh --small`.")


def _worlds(games_dir: Path | None) -> list[Check]:
    """What the installed worlds need. One that cannot be asked is no fault of the others."""
    checks: list[Check] = []
    for name in installed_environments():
        options = {"games_dir": games_dir} if games_dir is not None and name == DEFAULT else {}
        found = safely(name, partial(_needs, name, options))
        checks += [replace(check, status=WARN) if check.status == FAIL else check for check in found]
    return checks


def _needs(name: str, options: dict[str, Path]) -> list[Check]:
    needs: Callable[[], list[Need]] = getattr(find_environment(name, **options), "needs", list)
    return [Check(need.name, OK if need.met else WARN, need.found, "" if need.met else need.fix) for need in needs()]


def _home() -> Check:
    home = paths.home()
    there = _nearest(home)
    if home.exists() and not home.is_dir():
        return Check("home", FAIL, f"{home} is not a folder", "Set DUOMEM_HOME to a folder.")
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check("home", FAIL, f"{home} cannot be written", "Set DUOMEM_HOME to a folder you may write.")
    return Check("home", OK, str(home))


def _disk() -> Check:
    places = {place: shutil.disk_usage(place).free for place in (_nearest(paths.home()), Path.cwd())}
    place, free = min(places.items(), key=lambda item: item[1])
    found = f"{free / 1e9:.1f} GB free at {place}"
    if free < FULL_BYTES:
        return Check("disk", FAIL, found, "Free some space; the repacked student alone is 0.54 GB.")
    return Check("disk", WARN if free < TIGHT_BYTES else OK, found, "Free some space." if free < TIGHT_BYTES else "")


def _extras() -> list[Check]:
    checks = []
    for extra, (modules, purpose) in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        command = f"Run `pip install 'duomem-mlx[{extra}]'` if you want it."
        found = f"not installed: {purpose}" if missing else "installed"
        checks.append(Check(f"extra {extra}", ABSENT if missing else OK, found, command if missing else ""))
    return checks


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
