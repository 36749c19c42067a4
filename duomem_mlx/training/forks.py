"""A copy of this process that computes beside it, on a CPU.

MLX counts what is under way on all streams of a process together, and whoever queues more waits until that number
falls: of two threads one is often kept waiting by what the other queues, and two cores are three quarters used (MLX
0.32.4). Two processes use both. The copy shares the frozen weights with this process, page by page, as long as nobody
writes to them; weights and gradients of the adapter pass through memory that both see.
"""

import ctypes
import mmap
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from duomem_mlx.errors import DuomemError

MOST_FILES = 65536
PR_SET_PDEATHSIG = 1  # sys/prctl.h
HELD_BACK = {signal.SIGINT, signal.SIGTERM}  # while the copy is still about to be one


class ForkLost(DuomemError):
    """A copy that was asked is gone."""


def possible() -> bool:
    """Whether a copy of this process can compute: on Linux, on the CPU. On a Mac neither Metal nor Accelerate bears
    it."""
    return sys.platform == "linux" and mx.default_device().type == mx.cpu


class Shared:
    """Arrays of given names, shapes and types in memory that this process and its later copies see."""

    def __init__(self, like: Mapping[str, mx.array]) -> None:
        self._places: dict[str, tuple[int, mx.Dtype, tuple[int, ...]]] = {}
        size = 0
        for name, array in like.items():
            self._places[name] = (size, array.dtype, tuple(array.shape))
            size += array.nbytes
        self._bytes = np.frombuffer(mmap.mmap(-1, max(1, size)), np.uint8)

    def write(self, arrays: Mapping[str, mx.array]) -> None:
        for name, array in arrays.items():
            self._of(name)[:] = np.array(mx.contiguous(array).reshape(-1).view(mx.uint8), copy=False)

    def read(self) -> dict[str, mx.array]:
        """Copies, evaluated."""
        found = {
            name: mx.array(self._of(name)).view(dtype).reshape(shape)
            for name, (_, dtype, shape) in self._places.items()
        }
        mx.eval(found)
        return found

    def _of(self, name: str) -> npt.NDArray[np.uint8]:
        begin, dtype, shape = self._places[name]
        return self._bytes[begin : begin + dtype.size * int(np.prod(shape, dtype=np.int64))]


class Fork:
    """A copy of this process that answers one question at a time. Ask it from one thread at a time."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        """`answer` is called in the copy, with what `ask` is called with; it must not need another thread of now.

        Raises OSError where the system has no room for another process.
        """
        self.peak_bytes = 0  # of arrays that its answers took beside those that were there, since it was last reset
        mx.clear_cache()  # the copy never can: it would wait for threads that it does not have
        ours, theirs = Pipe()
        original, before = os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: that other threads do not come along
                self._process = os.fork()
            if self._process == 0:
                _serve(theirs, answer, original, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._pipe = ours

    def ask(self, *question: Any) -> Any:
        """What `answer` returned; raises what it raised, and ForkLost when the copy is gone."""
        try:
            self._pipe.send(question)
            found, failed, peak = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise ForkLost(
                "A process that computed beside this one has ended, perhaps for want of memory.",
                "Give the same command again when there is more: it goes on. Or begin anew with --overwrite and --ram.",
            ) from error
        self.peak_bytes = max(self.peak_bytes, peak)
        if failed is not None:
            raise failed
        return found

    def close(self) -> None:
        """It ends when it has answered."""
        self._pipe.close()
        with suppress(ChildProcessError):  # closed before, or SIGCHLD is ignored here
            os.waitpid(self._process, 0)


def _serve(pipe: Connection, answer: Callable[..., Any], original: int, mask: set[int | signal.Signals]) -> NoReturn:
    """The life of the copy: it has this one thread, and of the open files only its pipe, so that it keeps no lock and
    no other's pipe open."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the process that asks decides
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # what is under way is of use to nobody then
        if os.getppid() != original:
            os._exit(0)
        os.closerange(3, pipe.fileno())
        os.closerange(pipe.fileno() + 1, MOST_FILES)
        computing = threading.Thread(target=_answer_all, args=(pipe, answer))  # with a stream of its own: MLX's are a
        computing.start()  # thread's, and the threads behind those of the original are not here
        computing.join()
        status = 0
    finally:
        os._exit(status)  # nothing of the original's is to be tidied up here


def _answer_all(pipe: Connection, answer: Callable[..., Any]) -> None:
    before = mx.get_active_memory()
    while True:
        try:
            question = pipe.recv()
        except (EOFError, OSError):
            return
        mx.reset_peak_memory()
        found, failed = None, None
        try:
            found = answer(*question)
        except BaseException as error:
            failed = error
        try:
            pipe.send((found, failed, mx.get_peak_memory() - before))
        except OSError:
            return
        except Exception as error:
            pipe.send((None, RuntimeError(f"{failed or error}"), 0))
