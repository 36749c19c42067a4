"""Memories in front of another server."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from duomem_mlx.prompt import Example, chat_system
from duomem_mlx.student.serve.local import Local
from duomem_mlx.student.serve.record import Record
from duomem_mlx.student.serve.upstream import Upstream
from tests.student.serve.served import Fixed, serving, student, until
from tests.student.serve.test_app import HELLO, ask, client, hang_up, sent, streamed, text_of
from tests.teachers.endpoint import FAULTS, Endpoint

IDS = [f"{number:016x}" for number in range(2)]


def shown(question: str) -> list[Example]:
    return [Example(f"task {number}", f"Do it {question[:9]}.") for number in range(2)]


def test_what_is_asked_has_memories_and_what_is_answered_names_them() -> None:
    with Endpoint() as far, serving(Upstream(far.url, "far-key", False), bank=Fixed(), token="near") as url:
        talk = [{"role": "system", "content": "Be brief."}, *HELLO]
        words = {"model": "big", "temperature": 0.5, "tools": [{"type": "function", "function": {"name": "f"}}]}
        answer = client(url, "near").chat.completions.create(messages=talk, **words)  # type: ignore[call-overload]
        assert answer.choices[0].message.content == "Thought: the door is ahead.\nAction: walk"
        assert answer.duomem == {"memories": IDS}
        (body,), (headers,) = far.requests, far.headers_seen
        assert body["messages"][0]["content"] == chat_system("Be brief.", shown(HELLO[0]["content"]), "another run")
        assert body["messages"][1:] == HELLO
        assert {name: body[name] for name in words} == words
        assert headers["authorization"] == "Bearer far-key"


@pytest.mark.parametrize(("token", "seen"), [(None, "Bearer mine"), ("mine", None)])
def test_a_clients_key_goes_on_unless_it_was_for_us(token: str | None, seen: str | None) -> None:
    with Endpoint() as far, serving(Upstream(far.url, None, token is None), token=token) as url:
        client(url, "mine").chat.completions.create(model="big", messages=HELLO)
        assert far.headers_seen[0].get("authorization") == seen
        assert far.requests[0]["messages"] == HELLO


def test_pictures_and_other_fields_are_not_ours_to_judge() -> None:
    sees = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    with Endpoint() as far, serving(Upstream(far.url, None, True), bank=Fixed()) as url:
        ask(url, sees, n=2, temperature=1.9)
        assert far.requests[0]["messages"][-1] == sees[0]
        assert far.requests[0]["n"] == 2


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        ("429", openai.RateLimitError, 429),
        ("500", openai.InternalServerError, 500),
        ("401", openai.AuthenticationError, 401),
        ("reset", openai.InternalServerError, 502),
        ("reset in body", openai.InternalServerError, 502),
    ],
)
def test_what_goes_wrong_behind_is_told(fault: str, error: type[openai.APIStatusError], status: int) -> None:
    with Endpoint(lambda number: fault) as far, serving(Upstream(far.url, None, True)) as url:
        with pytest.raises(error) as refused:
            ask(url)
        assert refused.value.status_code == status


def test_nobody_behind_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        far = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with serving(Upstream(far, None, True)) as url, pytest.raises(openai.InternalServerError, match="no answer"):
            ask(url)


def test_lines_end_where_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "one\u2028two\x85three"

    def speaks(handler: Any) -> None:
        deltas = [{"role": "assistant"}, *({"content": letter} for letter in said), {}]
        chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        chunks[-1]["choices"][0]["finish_reason"] = "stop"
        lines = [f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in chunks]
        body = "".join([": so it begins\n\n", *lines, "data: [DONE]\n\n"]).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    monkeypatch.setitem(FAULTS, "speaks", speaks)
    with Endpoint(lambda number: "speaks") as far, serving(Upstream(far.url, None, True), bank=Fixed()) as url:
        chunks = streamed(url)
        assert text_of(chunks) == said
        assert chunks[-1].duomem == {"memories": IDS}


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_answer_is_passed_on_and_not_kept(
    stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = '{"error": "overloaded"}'

    def fails(handler: Any) -> None:
        body = (f"data: {said}\n\ndata: [DONE]\n\n" if stream else said).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream" if stream else "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    monkeypatch.setitem(FAULTS, "fails", fails)
    record = Record(tmp_path, "far")
    with Endpoint(lambda number: "fails") as far, serving(Upstream(far.url, None, True), record=record) as url:
        found, connection = b"", sent(url, stream=stream)
        while not (b"overloaded" in found and (b"[DONE]" in found or not stream)):
            found += connection.recv(4096) or pytest.fail("it ended")
        connection.close()
    assert not list(tmp_path.iterdir())


def test_a_server_of_ours_behind_streams_through_and_stops_for_who_has_gone(tmp_path: Path) -> None:
    it = student()
    object.__setattr__(it.prompts, "stop_tokens", frozenset())
    record = Record(tmp_path, "far")
    with (
        serving(Local(it.worker, "far")) as far,
        serving(Upstream(far, None, True), bank=Fixed(), record=record) as url,
    ):
        assert [model.id for model in client(url).models.list()] == ["far"]
        wanted = it.greedy(HELLO, 24, shown(HELLO[0]["content"]))
        assert ask(url).choices[0].message.content == wanted
        chunks = streamed(url, stream_options={"include_usage": True})
        assert text_of(chunks) == wanted
        assert chunks[-1].duomem == {"memories": IDS}
        assert chunks[-1].usage.completion_tokens > 0
        assert [json.loads(path.read_text())["messages"][-1]["content"] for path in tmp_path.iterdir()] == [wanted] * 2
        for stream in (True, False):
            connection = sent(url, stream=stream, temperature=1, max_tokens=1900)
            until(lambda: it.worker.busy == 1)
            hang_up(connection)
            until(lambda: it.worker.busy == 0, 10)
        passes: Any = it.worker.passes
        time.sleep(0.1)
        assert it.worker.passes == passes < 2000
