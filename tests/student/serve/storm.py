"""A server under many clients at once, some of whom hang up, send nonsense or read slowly.

    python -m tests.student.serve.storm [--requests 2000] [--clients 32] [--json]

The student is a tiny random one; every answer is compared with a greedy run from scratch. Memory is the server
process's resident size. Exit status 1 when an answer is wrong, a refusal is no sentence, or the server does not end
well.
"""

import argparse
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import psutil

from tests.student.serve.served import student
from tests.student.test_models import save_base

ROOT = Path(__file__).parents[3]
QUESTIONS = 200
NONSENSE = (b"", b"{", b"[]", b'{"messages": []}', b'{"messages": [{"role": "user", "content": 7}]}', b"\xff" * 99)
KINDS = ("whole",) * 4 + ("stream",) * 3 + ("gone",) + ("nonsense",) + ("slow",)


def question(number: int) -> dict[str, Any]:
    chance = random.Random(number % QUESTIONS)
    words = " ".join(chance.choice(("sofa", "box", "lamp", "desk")) for _ in range(chance.randrange(1, 40)))
    body = {"messages": [{"role": "user", "content": f"{number % QUESTIONS}: {words}?"}]}
    return {**body, "max_tokens": chance.randrange(4, 24)}


def wanted() -> list[tuple[str, int]]:
    """What each question is answered, and its tokens."""
    it = student()
    found = []
    for number in range(QUESTIONS):
        asked = question(number)
        text = it.greedy(asked["messages"], asked["max_tokens"])
        found.append((text, len(it.prompts.tokens(asked["messages"], ()))))
    it.worker.close()
    return found


class Client:
    """One of many; `counts` is what came of it."""

    def __init__(self, port: int, answers: list[tuple[str, int]]) -> None:
        self.port = port
        self.answers = answers
        self.counts: Counter[str] = Counter()
        self.lock = Lock()

    def ask(self, number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        try:
            found = getattr(self, kind)(number)
        except OSError as error:
            found = f"{kind}: {type(error).__name__}"
        with self.lock:
            self.counts[f"{kind} {found}"] += 1

    def sent(self, body: bytes) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        return connection

    def whole(self, number: int) -> str:
        connection = self.sent(json.dumps(question(number)).encode())
        answer = json.loads(connection.getresponse().read())
        connection.close()
        text, tokens = self.answers[number % QUESTIONS]
        right = answer["choices"][0]["message"]["content"] == text and answer["usage"]["prompt_tokens"] == tokens
        return "right" if right else "WRONG"

    def stream(self, number: int, pause_s: float = 0.0) -> str:
        connection = self.sent(json.dumps({**question(number), "stream": True}).encode())
        answer, data = connection.getresponse(), b""
        while piece := answer.read(64 if pause_s else 1 << 16):
            data += piece
            time.sleep(pause_s)
        connection.close()
        events = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
        deltas = [json.loads(one)["choices"][0]["delta"].get("content", "") for one in events[:-1]]
        return "right" if events[-1] == "[DONE]" and "".join(deltas) == self.answers[number % QUESTIONS][0] else "WRONG"

    def slow(self, number: int) -> str:
        return self.stream(number, 0.005)

    def gone(self, number: int) -> str:
        streams = number % 20 < 10
        connection = self.sent(json.dumps({**question(number), "max_tokens": 400, "stream": streams}).encode())
        time.sleep(random.Random(number).random() * 0.2)
        connection.close()
        return "hung up"

    def nonsense(self, number: int) -> str:
        connection = self.sent(NONSENSE[number // len(KINDS) % len(NONSENSE)])
        answer = connection.getresponse()
        told = json.loads(answer.read())["error"]["message"]
        connection.close()
        return "refused" if answer.status == 400 and told else "WRONG"


def storm(requests: int, clients: int) -> dict[str, Any]:
    answers = wanted()
    with tempfile.TemporaryDirectory() as folder:
        base = save_base(Path(folder) / "base")
        call = [sys.executable, "-m", "duomem_mlx", "serve", "--model", str(base), "--adapter", "none"]
        call += ["--memories", "none", "--port", "0", "--context", "1024", "--ram", "2GB"]
        with subprocess.Popen(
            call, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as server:
            try:
                return weather(server, answers, requests, clients)
            finally:
                server.kill()


def weather(
    server: "subprocess.Popen[str]", answers: list[tuple[str, int]], requests: int, clients: int
) -> dict[str, Any]:
    assert server.stdout is not None
    first = server.stdout.readline()
    port = re.search(r":(\d+)/v1", first)
    assert port is not None, server.communicate()
    client = Client(int(port[1]), answers)
    memory_mb: list[float] = []
    begun = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        for start in range(0, requests, max(1, requests // 10)):
            list(pool.map(client.ask, range(start, min(requests, start + max(1, requests // 10)))))
            memory_mb.append(round(psutil.Process(server.pid).memory_info().rss / 2**20, 1))
    seconds = time.monotonic() - begun
    stopping = time.monotonic()
    server.send_signal(signal.SIGINT)
    _, err = server.communicate(timeout=30)
    return {
        "requests": requests,
        "clients": clients,
        "seconds": round(seconds, 1),
        "came_of_them": dict(sorted(client.counts.items())),
        "wrong": sum(n for what, n in client.counts.items() if not what.endswith(("right", "hung up", "refused"))),
        "memory_mb_each_tenth": memory_mb,
        "stopped_with": server.returncode,
        "stopping_seconds": round(time.monotonic() - stopping, 2),
        "said": err.strip().splitlines(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = storm(chosen.requests, chosen.clients)
    if chosen.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:22}{value}")
    return int(bool(found["wrong"]) or found["stopped_with"] != 130)


if __name__ == "__main__":
    sys.exit(main())
