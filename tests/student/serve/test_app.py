"""The server as clients see it: OpenAI's own, and some that misbehave."""

import http.client
import json
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from duomem_mlx.prompt import Example
from duomem_mlx.student.feeding import ByRows, OneByOne
from duomem_mlx.student.serve.limits import Limits
from tests.student import tiny
from tests.student.serve.served import LIMITS, NAME, Fixed, student, tiny_server, until
from tests.training import made

HELLO = [{"role": "user", "content": "Hello, who is there?"}]


def client(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)


def ask(url: str, messages: Any = HELLO, **words: Any) -> Any:
    return client(url).chat.completions.create(model=NAME, messages=messages, **words)


def streamed(url: str, messages: Any = HELLO, **words: Any) -> list[Any]:
    return list(ask(url, messages, stream=True, **words))


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request("POST", urlsplit(url).path + "/chat/completions", body, headers or {})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def get(url: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def sent(url: str, **words: Any) -> socket.socket:
    """A connection on which something was asked, and nothing is read."""
    body = json.dumps({"messages": HELLO, **words}).encode()
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=30)
    head = f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def hang_up(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_openais_client_is_answered_whole_and_in_a_stream() -> None:
    with tiny_server() as (url, made):
        wanted = made.greedy(HELLO, 24)
        whole = ask(url)
        assert whole.choices[0].message.content == wanted
        assert whole.choices[0].finish_reason in ("stop", "length")
        assert whole.usage.prompt_tokens == len(made.prompts.tokens(HELLO, ()))
        chunks = streamed(url, stream_options={"include_usage": True})
        assert text_of(chunks) == wanted
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
        assert all(chunk.usage is None for chunk in chunks[:-1])
        assert [model.id for model in client(url).models.list()] == [NAME]
        assert get(url, "/health") == (200, '{"status":"ok"}')


@pytest.mark.parametrize("family", ["llama tied", "gemma3"])  # fed by rows, and with windows that slide
def test_cached_tokens_grow_and_change_nothing(family: str) -> None:
    with tiny_server(model=made.model(family)) as (url, it):
        talk, cached = [], [0]
        for turn in range(5):
            talk = [*talk, {"role": "user", "content": f"Turn {turn}. And then?"}]
            answer = ask(url, talk, max_tokens=6)
            assert answer.choices[0].message.content == it.greedy(talk, 6)
            cached.append(answer.usage.prompt_tokens_details.cached_tokens)
            assert cached[-1] <= answer.usage.prompt_tokens
            talk = [*talk, {"role": "assistant", "content": answer.choices[0].message.content}]
        if family == "llama tied":
            assert all(later > earlier for earlier, later in pairwise(cached[1:]))


def test_requests_at_the_same_time_are_not_mixed_up() -> None:
    talks = [[{"role": "user", "content": f"{number} {'word ' * (number % 7)}?"}] for number in range(24)]
    with tiny_server() as (url, made):
        with ThreadPoolExecutor(24) as pool:
            whole = pool.map(lambda talk: ask(url, talk).choices[0].message.content, talks[::2])
            parts = pool.map(lambda talk: text_of(streamed(url, talk)), talks[1::2])
            found = [text for pair in zip(whole, parts, strict=True) for text in pair]
        assert found == [made.greedy(talk, 24) for talk in talks]


def test_a_prompt_longer_than_a_pass_is_read_in_several() -> None:
    talk = [{"role": "user", "content": "long " * 300}]
    with tiny_server() as (url, made):
        assert ask(url, talk).choices[0].message.content == made.greedy(talk, 24)


def test_stop_texts_and_limits_end_an_answer() -> None:
    with tiny_server() as (url, made):
        wanted = made.greedy(HELLO, 24)
        stop = wanted[4:6]
        answer = ask(url, stop=[stop, "never said"])
        assert answer.choices[0].message.content == wanted[: wanted.index(stop)]
        assert answer.choices[0].finish_reason == "stop"
        assert text_of(streamed(url, stop=stop)) == wanted[: wanted.index(stop)]
        cut = ask(url, max_completion_tokens=3)
        assert cut.choices[0].finish_reason == "length"
        assert cut.usage.completion_tokens == 3


def test_the_same_seed_draws_the_same_whoever_else_asks() -> None:
    with tiny_server() as (url, _):

        def drawn(seed: int) -> str:
            return str(ask(url, temperature=1.5, top_p=0.95, seed=seed).choices[0].message.content)

        alone = [drawn(seed) for seed in range(4)]
        assert len(set(alone)) > 1
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(drawn, range(4))) == alone
        assert ask(url, temperature=0, seed=3).choices[0].message.content == ask(url).choices[0].message.content


def test_memories_come_once_a_conversation_and_are_named() -> None:
    bank = Fixed()
    with tiny_server(bank=bank) as (url, made):
        asked = [{"role": "user", "content": "A room.\nYour task is to: look at it."}]
        raw = client(url).chat.completions.with_raw_response.create(model=NAME, messages=asked)
        answer = raw.parse()
        ids = [f"{number:016x}" for number in range(2)]
        assert answer.duomem == {"memories": ids}
        assert raw.headers["x-duomem-memories"] == ",".join(ids)
        shown = [Example(f"task {number}", "Do it look at i.") for number in range(2)]
        assert answer.choices[0].message.content == made.greedy(asked, 24, shown)
        talk = [*asked, {"role": "assistant", "content": "x"}, {"role": "user", "content": "And?"}]
        chunks = streamed(url, talk)
        assert chunks[-1].duomem == {"memories": ids}
        assert bank.asked == ["look at it"]
        ask(url, talk, extra_headers={"X-DuoMem-Task": "stand up"})
        assert bank.asked == ["look at it", "stand up"]


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_computed_for_a_client_that_has_gone(stream: bool) -> None:
    limits = replace(LIMITS, answer_tokens=2000)
    with tiny_server(limits, endless=True) as (url, made):
        stays = ThreadPoolExecutor(1).submit(ask, url, [{"role": "user", "content": "stay"}], max_tokens=300)
        connections = [sent(url, stream=stream, temperature=1, max_tokens=1900) for _ in range(3)]
        until(lambda: made.worker.busy == 4)
        for connection in connections:
            hang_up(connection)
        assert stays.result().choices[0].message.content == made.greedy([{"role": "user", "content": "stay"}], 300)
        until(lambda: made.worker.busy == 0)
        passes = made.worker.passes
        assert passes < 1200
        time.sleep(0.1)
        assert made.worker.passes == passes


def test_who_waits_for_a_seat_may_leave_too() -> None:
    with tiny_server(replace(LIMITS, parallel=1, answer_tokens=1500), endless=True) as (url, made):
        first = sent(url, temperature=1)
        until(lambda: made.worker.busy == 1)
        waiting = [sent(url, temperature=1) for _ in range(5)]
        until(lambda: made.worker.busy == 6)
        for connection in (*waiting, first):
            hang_up(connection)
        until(lambda: made.worker.busy == 0, 10)
        assert made.worker.passes < 1500
        assert ask(url, max_tokens=2).usage.completion_tokens <= 2


def test_too_many_are_turned_away_and_told_when_to_come_back() -> None:
    with tiny_server(replace(LIMITS, parallel=1, waiting=1, answer_tokens=2000), endless=True) as (url, made):
        held = [sent(url, temperature=1) for _ in range(2)]
        until(lambda: made.worker.busy == 2)
        with pytest.raises(openai.RateLimitError, match="1 requests are being answered and 1 wait") as refused:
            ask(url)
        assert refused.value.response.headers["retry-after"] == "1"
        for connection in held:
            hang_up(connection)
        until(lambda: made.worker.busy == 0)
        ask(url, max_tokens=2)


def test_messages_past_the_context_are_refused_and_answers_end_at_it() -> None:
    with tiny_server(replace(LIMITS, context_tokens=100, answer_tokens=1000)) as (url, made):
        with pytest.raises(openai.BadRequestError, match="the context holds 100") as refused:
            ask(url, [{"role": "user", "content": "x" * 100}])
        assert refused.value.code == "context_length_exceeded"
        with pytest.raises(
            openai.BadRequestError, match="are 1000000 characters, and the context holds 100"
        ) as refused:
            ask(url, [{"role": "user", "content": "x" * 500_000}] * 2)
        assert refused.value.code == "context_length_exceeded"
        talk = [{"role": "user", "content": "x" * 30}]
        answer = ask(url, talk)
        assert answer.choices[0].message.content == made.greedy(talk, 100 - answer.usage.prompt_tokens)
        assert answer.usage.total_tokens <= 100


def test_bodies_that_are_off_get_a_sentence() -> None:
    limits = replace(LIMITS, body_bytes=1000, body_s=0.2)
    with tiny_server(limits) as (url, made):
        for body, status, words in (
            (b"{", 400, "not whole JSON"),
            (b'{"messages": []}', 400, "at least 1 item"),
            (b'{"messages": [{"role": "user", "content": "x"}], "temperature": 9}', 400, "temperature"),
            (b'{"messages": "' + b"x" * 1000 + b'"}', 413, "larger than 1000 bytes"),
        ):
            found, answer = post(url, body)
            assert found == status
            assert words in answer["error"]["message"]
        status, answer = post(url, b"{", {"Content-Length": "100"})
        assert (status, answer["error"]["message"]) == (408, "The body was not there within 0.2 s.")
        assert json.loads(get(url, "/v1/attic")[1])["error"]["message"] == "GET /v1/attic: Not Found."
        assert get(url, "/v1/chat/completions")[0] == 405
        assert get(url, "/health", {"Host": "evil.example"})[0] == 400
        assert made.worker.busy == 0
        assert ask(url, max_tokens=1).usage.completion_tokens == 1


def test_a_server_answers_to_the_name_it_was_given() -> None:
    for host, other, status in (("127.0.0.2", "127.0.0.3", 400), ("0.0.0.0", "some.where", 200)):
        with tiny_server(host=host) as (url, _):
            assert get(url, "/health", {"Host": f"{host}:81"})[0] == 200
            assert get(url, "/health", {"Host": other})[0] == status


def test_a_token_opens_all_but_health() -> None:
    with tiny_server(token="s3cret") as (url, _):
        for key in ("none", "s3cre", "s3cret "):
            with pytest.raises(openai.AuthenticationError, match="token is missing or wrong"):
                client(url, key.strip() + "x").models.list()
        with pytest.raises(openai.AuthenticationError):
            ask(url)
        assert get(url, "/health")[0] == 200
        answer = client(url, "s3cret").chat.completions.create(model=NAME, messages=HELLO, max_tokens=1)
        assert answer.usage is not None


def test_a_reader_that_sleeps_holds_nobody_up() -> None:
    with tiny_server(replace(LIMITS, parallel=2, answer_tokens=1500)) as (url, made):
        sleepers = [sent(url, stream=True, temperature=1) for _ in range(2)]
        assert ask(url, max_tokens=5).choices[0].message.content == made.greedy(HELLO, 5)
        until(lambda: made.worker.busy == 0, 60)
        for connection in sleepers:
            parts = b""
            while b"[DONE]" not in parts:
                parts += connection.recv(1 << 16)
            connection.close()


def test_an_answer_that_breaks_off_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with tiny_server() as (url, made):
        tokens = made.prompts.tokens

        def some(messages: Any, examples: Any) -> list[int]:
            if messages[0]["content"] == "break":
                raise RuntimeError("no such thing")
            return tokens(messages, examples)

        monkeypatch.setattr(
            type(made.prompts), "tokens", lambda self, messages, examples, offered=None: some(messages, examples)
        )
        with pytest.raises(openai.InternalServerError, match="RuntimeError \\(no such thing\\)"):
            ask(url, [{"role": "user", "content": "break"}])
        feed, broken = made.worker.feeder.logits, threading.Event()

        def fails_once(caches: Any, chunks: Any) -> Any:
            if not broken.is_set():
                broken.set()
                raise MemoryError
            return feed(caches, chunks)

        monkeypatch.setattr(made.worker.feeder, "logits", fails_once)
        with pytest.raises(openai.InternalServerError, match="MemoryError"):
            ask(url)
        assert text_of(streamed(url)) == made.greedy(HELLO, 24)


def test_closing_ends_answers_with_a_sentence() -> None:
    with tiny_server(replace(LIMITS, answer_tokens=2000, parallel=1), endless=True) as (url, made):
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(ask, url, temperature=1) for _ in range(2)]
            chunks = pool.submit(lambda: sent(url, stream=True, temperature=1))
            until(lambda: made.worker.busy == 3)
            begun = time.monotonic()
            made.worker.close()
            for one in asked:
                with pytest.raises(openai.InternalServerError, match="closing"):
                    one.result()
            assert time.monotonic() - begun < 5
            chunks.result().close()
        assert get(url, "/health")[0] == 503
        with pytest.raises(openai.InternalServerError, match="closing"):
            ask(url)
    assert not made.worker.alive


def test_caches_keep_to_their_bytes() -> None:
    with tiny_server(replace(LIMITS, kept_bytes=1 << 20)) as (url, made):
        for number in range(40):
            ask(url, [{"role": "user", "content": f"{number} {'word ' * 20}"}], max_tokens=1)
            assert made.worker.kept.nbytes <= 1 << 20
        assert len(made.worker.kept) > 3


def test_the_limits_follow_from_the_memory_there_is() -> None:
    from duomem_mlx.errors import DuomemError
    from duomem_mlx.student.machine import resident_bytes, total_bytes
    from duomem_mlx.student.serve.limits import SPARE_BYTES, limits_for

    small = SimpleNamespace(config={"max_position_embeddings": 1000})

    def limits(free: int, **given: Any) -> Limits:
        return limits_for(small, 1 << 10, 512, budget_bytes=resident_bytes() + SPARE_BYTES + free, **given)

    assert limits(100 << 20).context_tokens == 1000
    assert limits(100 << 20).parallel == 16
    assert 3 <= limits(10 << 20).parallel <= 5
    assert limits(100 << 20, parallel=3, context_tokens=100).parallel == 3
    assert limits(100 << 20, context_tokens=100).answer_tokens == 100
    assert limits(100 << 20).kept_bytes == pytest.approx(50 << 20, rel=0.1)
    assert limits_for(small, 1 << 10, 512).kept_bytes <= total_bytes() // 8
    given, held = limits(100 << 20), resident_bytes()
    assert given.most_bytes == pytest.approx(held + SPARE_BYTES + (16_000 << 10) + given.kept_bytes, rel=0.1)
    with pytest.raises(DuomemError, match="A conversation of 1000 tokens"):
        limits(0)


def test_a_model_that_is_not_fed_by_rows_is_answered_from_too() -> None:
    for model, feeder in ((made.model("gemma3"), OneByOne), (tiny.model(), ByRows)):
        it = student(model=model)
        try:
            assert type(it.worker.feeder) is feeder
        finally:
            it.worker.close()
