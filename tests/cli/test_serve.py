"""`serve` as a person starts and stops it."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from duomem_mlx.cli import main
from duomem_mlx.errors import DuomemError
from duomem_mlx.student.serve.running import listen

from ..loopback import need_loopback
from ..student.test_models import save_base
from ..teachers.endpoint import Endpoint

ROOT = Path(__file__).parent.parent.parent
HELLO = [{"role": "user", "content": "Hello"}]


@contextmanager
def started(*words: str, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and what it said up to the last of the lines to paste."""
    need_loopback()
    call = [sys.executable, "-m", "duomem_mlx", "serve", "--port", "0", "--memories", "none", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    with subprocess.Popen(call, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            said = ""
            assert running.stdout is not None
            while "print(" not in said:
                line = running.stdout.readline()
                assert line, running.communicate()
                said += line
            yield running, said
        finally:
            running.kill()


def stopped(running: "subprocess.Popen[str]") -> str:
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    return err


def test_the_lines_it_prints_work_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    words = ("--model", str(base), "--adapter", "none", "--prompt-style", "compact-1", "--max-tokens", "3")
    with started(*words, "--record", str(tmp_path / "kept")) as (running, said):
        code = said[said.index("import openai") :].replace("…", "Hello")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "kept").iterdir())) == 1
        err = stopped(running)
        assert "Prompts are compact-1" in err
        assert err.endswith("duomem-mlx: stopped.\n")


def test_it_stands_in_front_of_another_server() -> None:
    with Endpoint() as far, started("--upstream", far.url, "--token-env", "NEAR", NEAR="s3cret") as (running, said):
        url = re.search(r"http://127\.0\.0\.1:\d+/v1", said)
        assert url is not None
        client = openai.OpenAI(base_url=url[0], api_key="s3cret", max_retries=0)
        answer = client.chat.completions.create(model="big", messages=HELLO)  # type: ignore[arg-type]
        assert answer.choices[0].message.content
        assert far.headers_seen[0].get("authorization") is None
        stopped(running)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--upstream", "nowhere"], 2, "--upstream is no address"),
        (["--upstream", "http://x/v1", "--adapter", "a", "--ram", "8GB"], 2, "knows --adapter, --ram"),
        (["--api-key-env", "KEY"], 2, "--api-key-env is for --upstream"),
        (["--token-env", "NO_SUCH"], 2, "that --token-env names is not set"),
        (["--host", "no.such.host"], 2, "no host 'no.such.host'"),
        (["--host", "a..b"], 2, "no host 'a..b'"),
        (["--model", "gone"], 2, "no model gone"),
        (["--ram", "much"], 2, "'much' is no size"),
        (["--max-body", "0"], 2, "--max-body"),
    ],
)
def test_words_that_are_off(
    words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["duomem-mlx", "serve", "--port", "0", "--memories", "none", *words])
    assert main.status(main.app) == status
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_host_that_is_not_this_machines_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise OSError(errno.EADDRNOTAVAIL, "no")

    monkeypatch.setattr(socket, "create_server", refuses)
    with pytest.raises(DuomemError, match=r"127\.0\.0\.1:0 cannot be served on") as refused:
        listen("127.0.0.1", 0)
    assert "--host" in refused.value.fix


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Endpoint() as far:
        port = str(far.server_address[1])
        monkeypatch.setattr(sys, "argv", ["duomem-mlx", "serve", "--port", port, "--upstream", "http://x/v1"])
        assert main.status(main.app) == 1
    assert f"127.0.0.1:{port} cannot be served on" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told_before_the_student_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    words = ["--model", "gone", "--adapter", "none", "--memories", "none", "--record", str(tmp_path / "file" / "kept")]
    monkeypatch.setattr(sys, "argv", ["duomem-mlx", "serve", "--port", "0", *words])
    assert main.status(main.app) == 1
    assert "kept" in capsys.readouterr().err
