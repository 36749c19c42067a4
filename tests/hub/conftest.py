from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from duomem_mlx.cli.main import app, status
from tests.hub import making, server

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return making.make_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[server.Hub]:
    """A Hub that huggingface_hub takes for the real one, and a home of the test's own."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    with server.serving() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", found.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # LFS, whose protocol is public
        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", server.TOKEN)
        monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
        yield found


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Status, standard output and standard error of a call."""

    def run(*words: object) -> tuple[int, str, str]:
        found = status(lambda: app([str(word) for word in words]))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert "This is a bug" not in printed.err
        return found, printed.out, printed.err

    return run
