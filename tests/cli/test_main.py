"""How a call begins (quickly, with nothing heavy) and how it ends (with one sentence and the right status)."""

import ast
import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from duomem_mlx.cli import main
from duomem_mlx.errors import DuomemError, UsageError

ROOT = Path(__file__).parent.parent.parent
DUOMEM = [sys.executable, "-m", "duomem_mlx"]

Ending = tuple[int, str]
Ends = Callable[[BaseException], Ending]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ends:
    """Status and standard error of a call whose command raises."""

    def call(error: BaseException) -> Ending:
        def demo() -> None:
            raise error

        monkeypatch.setitem(sys.modules, "duomem_mlx.cli.demo", types.SimpleNamespace(demo=demo))
        monkeypatch.setattr(main, "drop_output", lambda: None)
        status = main.status(lambda: main.app(["demo"]))
        return status, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (DuomemError("The bank is torn.", "Export it again."), 1, "duomem-mlx: The bank is torn. Export it again.\n"),
        (UsageError("There is no game at x.", "Check the path."), 2, "duomem-mlx: There is no game at x."),
        (KeyboardInterrupt(), 130, "duomem-mlx: stopped.\n"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), 1, "The disk is full (runs/a). Free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/a"), 1, "runs/a: Permission denied."),
        (MemoryError(), 1, "Memory ran out."),
        (ModuleNotFoundError("No module named 'openai'", name="openai"), 1, "The Python package openai is missing."),
        (ModuleNotFoundError("No module", name="duomem_mlx.attic"), 1, "This is a bug: ModuleNotFoundError"),
        (KeyError("colour"), 1, "This is a bug: KeyError ('colour'). Run the same command with DUOMEM_DEBUG=1"),
        (AssertionError(), 1, "This is a bug: AssertionError. Run"),
    ],
)
def test_whatever_a_command_raises_ends_in_one_sentence(
    ends: Ends, error: BaseException, status: int, words: str
) -> None:
    found, text = ends(error)
    assert found == status
    assert words in text
    assert len(text.strip().splitlines()) == 1
    assert "Traceback" not in text


@pytest.mark.parametrize(("error", "status"), [(UsageError("No."), 2), (KeyError("x"), 1)])
def test_the_traceback_is_shown_when_asked_for(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    monkeypatch.setenv("DUOMEM_DEBUG", "1")
    found, text = ends(error)
    assert found == status
    assert "Traceback" in text
    assert "test_main.py" in text


def test_a_command_that_ends_well_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duomem_mlx.cli.demo", types.SimpleNamespace(demo=lambda: None))
    assert main.status(lambda: main.app(["demo"])) == 0


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["evaluat"], "Did you mean 'evaluate'?"),
        (["sing"], "No such command 'sing'"),
        (["run", "--gamez", "x"], "--gamez"),
        (["run", "--max-steps", "0"], "'--max-steps'"),
    ],
)
def test_words_that_are_off_are_2_and_named(words: list[str], answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.status(lambda: main.app(words)) == 2
    text = capsys.readouterr().err
    assert answer in text
    assert "Traceback" not in text


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    from duomem_mlx import __version__

    assert main.status(lambda: main.app(["--version"])) == 0
    assert capsys.readouterr().out == f"duomem-mlx {__version__}\n"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_loads_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.status(lambda: main.app([name, "--help"], prog_name="duomem-mlx")) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: duomem-mlx {name}")
    assert len(text) > 200
    assert len(main.COMMANDS[name]) <= 80


def test_every_command_is_listed() -> None:
    def is_command(file: Path) -> bool:
        names = {n.name for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef)}
        return file.stem in names

    found = {file.stem for file in Path(main.__file__).parent.glob("*.py") if is_command(file)}
    assert found - {"main"} <= set(main.COMMANDS)


def test_help_loads_nothing_heavy() -> None:
    heavy = {"mlx", "mlx_lm", "numpy", "transformers", "tokenizers", "huggingface_hub", "openai", "rich", "textworld"}
    code = (
        "import sys; sys.argv = ['duomem-mlx', '--help']\n"
        "from duomem_mlx.cli.main import run\n"
        "try: run()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    assert heavy.isdisjoint(done.stderr.split())


SAVED = "; what was finished is saved, the same command again goes on"


@pytest.mark.parametrize(("command", "more"), [("train", SAVED), ("doctor", "")])
def test_ctrl_c_says_what_is_saved(command: str, more: str) -> None:
    code = (
        "import sys, time, types\n"
        "from duomem_mlx.cli import main\n"
        f"def {command}(): print('here', flush=True); time.sleep(60)\n"
        f"sys.modules['duomem_mlx.cli.{command}'] = types.SimpleNamespace({command}={command})\n"
        f"sys.argv = ['duomem-mlx', '{command}']\n"
        "main.run()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        assert p.stdout is not None
        assert p.stdout.readline() == "here\n"
        p.send_signal(signal.SIGINT)
        _, text = p.communicate(timeout=20)
    assert p.returncode == 130
    assert text == f"duomem-mlx: stopped{more}.\n"


@pytest.mark.parametrize("words", [(), ("games",), ("trajectories",), ("memories",), ("models",)])
def test_no_line_of_a_list_of_commands_is_cut_at_80_columns(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main.status(lambda: main.app([*words, "--help"], prog_name="duomem-mlx")) == 0
    _, listed = capsys.readouterr().out.split("Commands:")
    assert len(listed.strip().splitlines()) > 0
    assert "..." not in listed


@pytest.mark.parametrize("more", [30, 0])
def test_ctrl_c_while_an_object_is_cleared_away_is_not_lost(more: float, capsys: pytest.CaptureFixture[str]) -> None:
    class Held:
        pass

    def command() -> None:
        held = Held()
        watched = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGINT))
        del held
        assert watched() is None
        if more:
            time.sleep(more)
            raise AssertionError("nobody was stopped")

    assert main.status(command) == 130
    assert capsys.readouterr().err == "duomem-mlx: stopped.\n"


def test_nor_is_it_lost_where_other_threads_are_at_work(capsys: pytest.CaptureFixture[str]) -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(2000))

    def command() -> None:
        held = set[int]()
        watched = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGINT))
        del held
        assert watched() is None
        time.sleep(2)

    busy = [threading.Thread(target=work) for _ in range(2)]
    for thread in busy:
        thread.start()
    try:
        assert {main.status(command) for _ in range(30)} == {130}
    finally:
        over.set()
        for thread in busy:
            thread.join()
    assert set(capsys.readouterr().err.splitlines()) == {"duomem-mlx: stopped."}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_failures_of_an_objects_end_are_shown_as_python_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: shown.append(lost.exc_type))

    class Broken:
        def __del__(self) -> None:
            raise ValueError("too late")

    def command() -> None:
        Broken()

    assert main.status(command) == 0
    assert shown == [ValueError]


def test_a_call_ends_before_the_interpreter_is_taken_down() -> None:
    """Threads of MLX that let go of a Python object by then would abort it."""
    code = """
        import atexit, os, sys
        class Last:
            def __del__(self, abort=os.abort): abort()
        sys.last = Last()
        from duomem_mlx.cli import main
        main.app = lambda **options: atexit.register(print, "what others want done at the end is done")
        main.run()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "what others want done at the end is done\n")


def test_a_reader_that_leaves_is_no_fault() -> None:
    with subprocess.Popen([*DUOMEM, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        assert p.stdout is not None
        p.stdout.close()
        time.sleep(0.01)
        assert p.stderr is not None
        assert p.stderr.read() == ""
    assert p.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
def test_a_full_disk_behind_the_output_is_said() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*DUOMEM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "duomem-mlx: The disk is full. Free some space and run the same command again.\n"


def test_the_documented_commands_are_the_real_ones() -> None:
    call = [sys.executable, str(ROOT / "scripts" / "make_cli_docs.py"), "--check"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
