"""ScienceWorld's simulator: a Java process a game, lent out and taken back.

The simulator keeps its random numbers and its names for things in variables of the whole process, so that two games in
one process would change each other; and of a process that dies, one game alone is lost.
"""

import importlib.util
import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from duomem_mlx.errors import DuomemError, UsageError

# "easy" is the package's own preset: doors are open, one can teleport, flower pots water themselves, and where a task
# needs no circuit there are none.
SIMPLIFICATIONS = "easy"
# The heap is a limit, not what is taken: a short game keeps a process at some 110 MB, things that melt need more.
JAVA_OPTIONS = (
    "-Xms32m",
    "-Xmx1g",
    "-Xss2m",
    "-XX:+UseSerialGC",
    "-XX:MinHeapFreeRatio=20",
    "-XX:MaxHeapFreeRatio=30",
    "-XX:TieredStopAtLevel=1",
    # Version 1.2.3 lists things in the order of their hashes, which differ from process to process unless all are one.
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",
    "-XX:+IgnoreUnrecognizedVMOptions",
)
ANSWER_SECONDS = 300.0  # it is given up after that; the longest gold path seen took 15 s to find
GRACE_SECONDS = 2.0  # in which a process that has died is known to have
AGAIN = "The next game gets another one."
INSTALL = "pip install 'duomem-mlx[scienceworld]'"
JAVA = "Java 8 or newer (macOS: brew install openjdk; Debian, Ubuntu: sudo apt install default-jre-headless)"


class Simulator:
    """One Java process with one game in it. Whatever fails in it is told as DuomemError, and then it is `broken`."""

    def __init__(self) -> None:
        """Start the process, which takes about a second of computing. Raises UsageError when the package or Java is
        missing, DuomemError when Java does not start."""
        check_installed()
        from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
        from scienceworld.constants import BASEPATH, JAR_PATH

        self.broken = False
        with tempfile.TemporaryFile() as said:
            try:
                port, token, self._process = launch_gateway(
                    classpath=JAR_PATH,
                    javaopts=list(JAVA_OPTIONS),
                    java_path=_java(),
                    cwd=BASEPATH,
                    die_on_exit=True,
                    create_new_process_group=True,  # Ctrl-C is for us: it must not look as if a game had broken
                    enable_auth=True,  # else any user of the machine could have Java run what he likes
                    return_proc=True,
                    redirect_stderr=said,
                )
                parameters = GatewayParameters(
                    port=port,
                    auth_token=token,
                    auto_field=True,
                    read_timeout=ANSWER_SECONDS,
                    enable_memory_management=False,  # else garbage collection talks to processes that are gone
                )
                self._gateway = JavaGateway(gateway_parameters=parameters, java_process=self._process)
                self._world: Any = self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface()
            except Exception as error:  # py4j reads a port out of whatever was printed: anything may be raised
                said.seek(0)
                why = _told(said.read().decode(errors="replace") or error)
                raise DuomemError(
                    f"Java does not start ScienceWorld's simulator ({why}).", f"Install {JAVA}."
                ) from None

    def load(self, task: str, variation: int, gold: bool = False) -> None:
        """Put a game at its beginning; with `gold` its gold path is found too."""
        with self._answering():
            fault = self._world.load(task, variation, SIMPLIFICATIONS, gold)
        if fault:
            self.broken = True
            raise DuomemError(f"ScienceWorld cannot load {task}/{variation}: {' '.join(str(fault).split())}.")

    def step(self, action: str) -> str:
        with self._answering():
            return str(self._world.step(action))

    def task(self) -> str:
        with self._answering():
            return " ".join(str(self._world.getTaskDescription()).split())

    def verdict(self) -> tuple[float, bool]:
        """Its score (negative for what spoils a task, up to 1) and whether it is completed."""
        with self._answering():
            return float(self._world.getScore()), bool(self._world.getCompleted())

    def gold_path(self) -> list[str]:
        """Of the game that was loaded with `gold`."""
        with self._answering():
            return [str(action) for action in self._world.getGoldActionSequence()]

    def variations(self, split: str) -> list[int]:
        """Of the task that was loaded, in the package's own words; `split` is Train, Dev or Test."""
        with self._answering():
            return [int(number) for number in getattr(self._world, f"getVariations{split}")()]

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def close(self) -> None:
        """End the process."""
        self.broken = True
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()
        self._gateway.close(keep_callback_server=True)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from py4j.protocol import Py4JError, Py4JJavaError

        try:
            with _quiet():
                yield
        except Py4JJavaError as error:
            self.broken = True
            raise DuomemError(f"ScienceWorld's simulator failed ({_told(error.java_exception)}).", AGAIN) from None
        except (Py4JError, OSError) as error:
            self.broken = True
            try:
                what = f"ended in mid-game (exit status {self._process.wait(GRACE_SECONDS)})"
            except subprocess.TimeoutExpired:
                what = f"did not answer ({_told(error)})"
            raise DuomemError(f"ScienceWorld's simulator {what}.", AGAIN) from None


class Simulators:
    """Processes that wait for a game. Safe to share between threads."""

    def __init__(self) -> None:
        self._free: list[Simulator] = []
        self._lock = threading.Lock()

    def take(self) -> Simulator:
        """One that is free, else a new one. Raises as `Simulator` does."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return Simulator()

    def give_back(self, simulator: Simulator) -> None:
        """One that broke is ended."""
        if simulator.broken:
            simulator.close()
            return
        with self._lock:
            self._free.append(simulator)

    def close(self) -> None:
        """End those that are free."""
        with self._lock:
            free, self._free = self._free, []
        for simulator in free:
            simulator.close()


def check_installed() -> None:
    """Raises UsageError that says what is missing, the package or Java."""
    if not package_found():
        raise UsageError("The package scienceworld is not installed.", f"{INSTALL}; it needs {JAVA}, too.")
    if java_found() is None:
        raise UsageError("ScienceWorld's simulator needs Java, and there is none here.", f"Install {JAVA}.")


def package_found() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("scienceworld", "py4j"))


def java_found() -> str | None:
    """Where Java is; None where there is none."""
    return shutil.which(_java())


@contextmanager
def _quiet() -> Iterator[None]:
    """py4j writes its tracebacks into the root logger, which shows them where nobody set it up; what is wrong is
    raised besides."""
    root = logging.getLogger()
    root.addFilter(_not_py4j)
    try:
        yield
    finally:
        root.removeFilter(_not_py4j)


def _not_py4j(record: logging.LogRecord) -> bool:
    return "py4j" not in record.pathname


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return os.path.join(home, "bin", "java") if home else "java"


def _told(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
