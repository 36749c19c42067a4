"""What reaches a user: the wheel, and the scripts that make an environment on a fresh machine."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = ("adapters", "memories")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: pip install -e '.[dev]'")
    out = tmp_path_factory.mktemp("dist")
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(out), str(ROOT))
    (built,) = out.glob("*.whl")
    return built


def pip(*words: str) -> None:
    call = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def shipped_files() -> set[str]:
    """What the checkout ships, below its root."""
    call = ["git", "-C", str(ROOT), "ls-files", *SHIPPED]
    listed = subprocess.run(call, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return set(listed.stdout.split("\n")) - {""}


def test_the_wheel_holds_the_package_and_what_is_shipped(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (ROOT / "duomem_mlx").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {path.relative_to(ROOT).as_posix() for path in files} <= names
    assert "duomem_mlx/py.typed" in names
    assert {f"duomem_mlx/shipped/{file}" for file in shipped_files()} <= names
    outside = {name for name in names if not name.startswith("duomem_mlx/") and ".dist-info/" not in name}
    assert outside == set()
    assert not any("__pycache__" in name for name in names)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked where nothing of the checkout is."""
    place = tmp_path_factory.mktemp("installed here")
    pip("install", "--no-deps", "--no-index", "--target", str(place), str(wheel))
    return place


def test_installed_in_an_empty_folder_it_finds_what_is_shipped(installed: Path) -> None:
    folders = sorted({"/".join(file.split("/")[:2]) for file in shipped_files() if file.count("/") > 1})
    code = (
        "import duomem_mlx.paths as p, sys\n"
        "print(p.PACKAGE)\n"
        "for folder in sys.argv[1:]: print(p.shipped(*folder.split('/')))"
    )
    package, *found = run_with(installed, "-c", code, *folders).stdout.splitlines()
    assert package == str(installed / "duomem_mlx")
    assert found == [str(installed / "duomem_mlx" / "shipped" / folder) for folder in folders]
    assert run_with(installed, "-m", "duomem_mlx", "--version").stdout.startswith("duomem-mlx ")


def test_installed_in_an_empty_folder_it_plays_with_its_own_adapter_and_memories(
    installed: Path, student_weights: Path, encoder_weights: Path
) -> None:
    if not {"duomem.json", "bank.json"} <= {Path(file).name for file in shipped_files()}:
        pytest.skip("nothing is shipped yet")
    played = run_with(installed, "-m", "duomem_mlx", "run", "--max-steps", "1", "--json")
    assert "No adapter" not in played.stderr
    assert "No memories" not in played.stderr
    record = json.loads(played.stdout)
    assert len(record["memories"]) == 2
    assert len(record["steps"]) == 1


def run_with(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with the package of `place`; a test stands in an empty folder already."""
    plain = {**os.environ, "PYTHONPATH": str(place)}
    return subprocess.run([sys.executable, *words], env=plain, capture_output=True, text=True, check=True)


# -- the scripts -----------------------------------------------------------------------------------------------

FITS = ""
OLD = "sys.version_info = (3, 9, 6)"
NEW = "sys.version_info = (3, 14, 0)"
ON_A_MAC = (
    "import ensurepip, venv; sys.platform = 'darwin'; "
    "platform.machine = lambda: {!r}; platform.mac_ver = lambda: ({!r}, '', '')"
)
NO_VENV = "sys.modules['ensurepip'] = None"


def machine(folder: Path, pythons: dict[str, str], apple_silicon: bool = False) -> dict[str, str]:
    """An environment whose PATH holds only Pythons that say of themselves what `pythons` makes them say."""
    folder.mkdir()
    for name, pretence in pythons.items():
        code = f"import platform, sys; sys.platform = 'linux'; {pretence}\nexec(sys.stdin.read())"
        program(folder / name, f'exec "{sys.executable}" -c "{code}"')
    program(folder / "sysctl", f"echo {int(apple_silicon)}")
    return {"PATH": str(folder)}


def program(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def pick(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    code = f'set -eu; root="{ROOT}"; . "$root/scripts/environment.sh"; pick_python; echo "$python"'
    return subprocess.run(["/bin/sh", "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": FITS}, "python3"),
        ({"python3": OLD, "python3.12": FITS}, "python3.12"),
        ({"python3": NEW, "python3.11": FITS, "python3.13": FITS}, "python3.13"),
        ({"python3": NO_VENV, "python3.11": FITS}, "python3.11"),
        ({"python3": "sys.exit(1)", "python": FITS}, "python"),
        ({"python3": ON_A_MAC.format("x86_64", "14.5"), "python3.12": ON_A_MAC.format("arm64", "14.5")}, "python3.12"),
    ],
)
def test_the_first_python_that_fits_is_taken(tmp_path: Path, pythons: dict[str, str], chosen: str) -> None:
    done = pick(machine(tmp_path / "bin", pythons))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'bin' / chosen}\n"


@pytest.mark.parametrize(
    ("pythons", "apple_silicon", "words"),
    [
        ({}, False, ["needs Python 3.11, 3.12 or 3.13 (here: no python3)", "brew install", "apt install"]),
        ({"python3": OLD}, False, ["(here: python3 is Python 3.9)"]),
        ({"python3": NEW, "python": OLD}, False, ["(here: python3 is Python 3.14, python is Python 3.9)"]),
        ({"python3": ON_A_MAC.format("x86_64", "14.5")}, True, ["Rosetta (python3 is made for Intel)", "native"]),
        ({"python3": ON_A_MAC.format("x86_64", "14.5")}, False, ["Intel Mac", "M-series"]),
        ({"python3": ON_A_MAC.format("arm64", "13.6")}, True, ["macOS 14", "update macOS"]),
        ({"python3": NO_VENV}, False, ["venv", "apt install python3-venv"]),
    ],
)
def test_a_python_that_cannot_gets_the_sentence_that_mends_it(
    tmp_path: Path, pythons: dict[str, str], apple_silicon: bool, words: list[str]
) -> None:
    done = pick(machine(tmp_path / "bin", pythons, apple_silicon))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / ".venv" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("kept")
    code = f'set -eu; root="{ROOT}"; . "$root/scripts/environment.sh"; environment "{mine.parent}"'
    done = subprocess.run(["/bin/sh", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "remove that folder and run this again" in done.stderr
    assert mine.read_text() == "kept"
