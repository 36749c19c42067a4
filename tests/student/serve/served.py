"""A tiny student behind a real server on this machine, and what it should say."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from duomem_mlx.prompt import CHAT, Example
from duomem_mlx.student.feeding import make_feeder
from duomem_mlx.student.serve.app import Behind, Desk
from duomem_mlx.student.serve.limits import Limits
from duomem_mlx.student.serve.local import Local
from duomem_mlx.student.serve.prompts import Prompts, make_prompts
from duomem_mlx.student.serve.recall import Recall
from duomem_mlx.student.serve.record import Record
from duomem_mlx.student.serve.running import Server, listen
from duomem_mlx.student.serve.worker import Worker
from tests.loopback import need_loopback
from tests.student import tiny

NAME = "tiny"
LIMITS = Limits(context_tokens=2048, answer_tokens=24, parallel=4, waiting=64)


@dataclass
class Student:
    """A tiny model with all that answers for it."""

    model: Any
    tokenizer: Any
    prompts: Prompts
    worker: Worker

    def greedy(self, messages: Sequence[dict[str, Any]], most: int, examples: Sequence[Example] = ()) -> str:
        """From scratch, token by token, without any cache."""
        tokens, said = self.prompts.tokens(messages, examples), []
        for _ in range(most):
            token = int(mx.argmax(self.model(mx.array([tokens + said]))[0, -1]).item())
            if token in self.prompts.stop_tokens:
                break
            said.append(token)
        return str(self.tokenizer.decode(said))


def student(
    limits: Limits = LIMITS, model: Any = None, style: str = CHAT, template: str | None = tiny.CHATML
) -> Student:
    model = tiny.model() if model is None else model
    tokenizer = tiny.tokenizer(template)
    prompts = make_prompts(tokenizer, style)
    return Student(model, tokenizer, prompts, Worker(tokenizer, prompts, make_feeder(model), limits))


class Fixed:
    """A bank that knows a few things and remembers what it was asked."""

    by = "task"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def search(self, text: str, k: int) -> list[Any]:
        self.asked.append(text)
        return [_Hit(_Memory(f"{number:016x}", f"task {number}", f"Do it {text[:9]}.")) for number in range(k)]


@dataclass
class _Memory:
    id: str
    task: str
    script: str


@dataclass
class _Hit:
    memory: _Memory
    cosine: float = 1.0


@contextmanager
def serving(
    behind: Behind,
    limits: Limits = LIMITS,
    bank: Any = None,
    k: int = 2,
    record: Record | None = None,
    token: str | None = None,
    host: str = "127.0.0.1",
) -> Iterator[str]:
    """`host`: the name it is told it has. The base URL, as far as before /chat/completions."""
    need_loopback()
    sock = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
    server = Server(Desk(behind, limits, Recall(bank, k), record, token, lambda line: None), host)
    thread = threading.Thread(target=server.serve_on, args=(sock,))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield url
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def tiny_server(
    limits: Limits = LIMITS, model: Any = None, endless: bool = False, **given: Any
) -> Iterator[tuple[str, Student]]:
    """`endless`: no token ends an answer."""
    made = student(limits, model)
    if endless:
        object.__setattr__(made.prompts, "stop_tokens", frozenset())
    with serving(Local(made.worker, NAME), limits, **given) as url:
        yield url, made


def until(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
