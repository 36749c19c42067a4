"""`duomem-mlx games play` on a terminal: completion and history, as a person at the keys has them."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pty = pytest.importorskip("pty", reason="this system has no pseudo terminals")
termios = pytest.importorskip("termios")
pytest.importorskip("prompt_toolkit", reason="needs the extra play: pip install 'duomem-mlx[play]'")


class Terminal:
    """A game at the other end of a terminal's two ends."""

    def __init__(self, home: Path) -> None:
        self.end, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 100))
        environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "DUOMEM_HOME": str(home)}
        command = [sys.executable, "-m", "duomem_mlx", "games", "play", "generated:3"]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.seen = ""
        self.place = 0  # up to which it was read

    def until(self, words: str) -> None:
        """Read on until `words` are shown; the terminal's own signs are left out."""
        deadline = time.monotonic() + 60
        while (place := self.shown.find(words, self.place)) < 0:
            assert time.monotonic() < deadline, f"{words!r} never came: {self.shown[self.place :]!r}"
            if select.select([self.end], [], [], 1)[0]:
                self.seen += os.read(self.end, 1 << 16).decode()
        self.place = place + len(words)

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.seen)

    def type(self, keys: str) -> None:
        os.write(self.end, keys.encode())


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path / "home")
    yield opened
    opened.process.kill()
    opened.process.wait()
    os.close(opened.end)


def test_tab_completes_what_is_possible_and_the_arrow_brings_back_what_was(terminal: Terminal, tmp_path: Path) -> None:
    terminal.until(">")
    terminal.type("inv\t")
    terminal.until("inventory")
    terminal.type("\r")
    terminal.until("You are not carrying anything.")
    terminal.until(">")
    terminal.type("\x1b[A\r")  # arrow up, Enter
    terminal.until("You are not carrying anything.")
    terminal.until(">")
    terminal.type("\x04")  # Ctrl-D
    terminal.until("Not done after 2 steps.")

    assert terminal.process.wait(30) == 0
    assert "+inventory" in (tmp_path / "home" / "play_history").read_text()
