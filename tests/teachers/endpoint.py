"""An endpoint of OpenAI's kind on this machine, which plays corridors and has every fault that was ever seen."""

import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.loopback import need_loopback

Fault = Callable[["Handler"], None]

KEY = "sk-very-secret-0123456789"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: "Endpoint"

    def log_message(self, *words: Any) -> None:
        pass

    def do_POST(self) -> None:
        if self.server.over.is_set():  # a connection that outlived the server
            self.drop()
            return
        self.request_body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = self.server.asked
            self.server.asked += 1
            self.server.requests.append(self.request_body)
            self.server.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
            name = self.server.choose(number)
            self.server.faults[name] += 1
        try:
            FAULTS[name](self)
        except OSError:  # who asked has gone
            self.close_connection = True

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def error(self, status: int, message: str, headers: dict[str, str] | None = None, code: str | None = None) -> None:
        record = {"error": {"message": f"{message} (you sent {self.headers['Authorization']})", "code": code}}
        self.send(status, json.dumps(record).encode(), headers)

    def completion(self, text: str | None, finish: str = "stop", **message: Any) -> bytes:
        """A whole answer that took 100 tokens in and 10 out."""
        choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        return json.dumps({"id": "c", "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()

    def drop(self, sent: bytes = b"", length: int = 1000) -> None:
        """Reset the connection, after the head and some of the body where `sent` is given."""
        if sent:
            self.send(200, sent, length=length)
            self.wfile.flush()
            time.sleep(0.01)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        os.close(self.connection.detach())


USAGE = {"prompt_tokens": 100, "completion_tokens": 10}


def good(handler: Handler) -> None:
    text = handler.server.answer(handler.request_body)
    with handler.server.lock:
        handler.server.answered += 1
    handler.send(200, handler.completion(text))


def hang(handler: Handler) -> None:
    handler.server.over.wait(handler.server.hang_s)
    handler.drop()


def drip(handler: Handler) -> None:
    """White space, bit by bit, longer than anybody should wait."""
    handler.send(200, b" ", length=100_000)
    end = time.monotonic() + handler.server.hang_s
    while time.monotonic() < end:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)
    handler.drop()


FAULTS: dict[str, Fault] = {
    "good": good,
    "429": lambda h: h.error(429, "slow down", {"Retry-After": "0.05"}),
    "429 bare": lambda h: h.error(429, "slow down"),
    "500": lambda h: h.error(500, "broken"),
    "503": lambda h: h.error(503, "overloaded"),
    "502 page": lambda h: h.send(502, b"<html>Bad Gateway</html>"),
    "hang": hang,
    "drip": drip,
    "reset": lambda h: h.drop(),
    "reset in body": lambda h: h.drop(h.completion("Action: walk")[:60]),
    "short body": lambda h: h.send(200, h.completion("Action: walk")[:60]),
    "no json": lambda h: h.send(200, b"ok"),
    "no choices": lambda h: h.send(200, json.dumps({"choices": [], "usage": USAGE}).encode()),
    "null choices": lambda h: h.send(200, b'{"choices": null}'),
    "error as success": lambda h: h.send(200, b'{"error": {"message": "upstream"}}'),
    "no action": lambda h: h.send(200, h.completion("I wonder where I am.")),
    "null content": lambda h: h.send(200, h.completion(None)),
    "never stops": lambda h: h.send(200, h.completion("and on " * 50, "length")),
    "cut action": lambda h: h.send(200, h.completion("Action: wal", "length")),
    "401": lambda h: h.error(401, "Incorrect API key provided"),
    "402": lambda h: h.error(402, "pay first"),
    "no quota": lambda h: h.error(429, "You exceeded your current quota", code="insufficient_quota"),
    "404": lambda h: h.error(404, "no such model"),
    "400": lambda h: h.error(400, "bad"),
    "too long": lambda h: h.error(400, "This model's maximum context length is 8", code="context_length_exceeded"),
}
PASSING = tuple(list(FAULTS)[1:15])  # after these the same is asked again
SLOW = ("hang", "drip")
SILLY = ("no action", "null content", "never stops", "cut action")  # these are answers, and paid for


class Endpoint(ThreadingHTTPServer):
    """`choose(number)` names what the number-th request gets; `answer(request)` is what a good one says."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, choose: Callable[[int], str] = lambda number: "good", port: int = 0) -> None:
        need_loopback()
        super().__init__(("127.0.0.1", port), Handler)
        self.choose = choose
        self.answer: Callable[[dict[str, Any]], str] = walk
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.hang_s = 1.0
        self.asked = self.answered = 0
        self.requests: list[dict[str, Any]] = []
        self.headers_seen: list[dict[str, str]] = []
        self.faults: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> "Endpoint":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def walk(request: dict[str, Any]) -> str:
    return "Thought: the door is ahead.\nAction: walk"


def mixed(faults: tuple[str, ...], share: float, seed: int = 1) -> Callable[[int], str]:
    """Each of `faults` at least once among the first requests, the quick ones at random in the given share of all."""
    chance = random.Random(seed)
    quick = [name for name in faults if name not in SLOW]

    def choose(number: int) -> str:
        if number % 3 == 1 and number // 3 < len(faults):
            return faults[number // 3]
        return chance.choice(quick) if chance.random() < share else "good"

    return choose
