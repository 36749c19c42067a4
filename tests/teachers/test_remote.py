"""One request at a time, to an endpoint on this machine."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from duomem_mlx.errors import UsageError
from duomem_mlx.teachers.answers import Fault
from duomem_mlx.teachers.remote import Endpoint, RemoteModel, key_from, retry_after_s
from tests.teachers import endpoint as server

MESSAGES = [{"role": "system", "content": "Say walk."}, {"role": "user", "content": "You are in a corridor."}]


@pytest.fixture
def far() -> Iterator[server.Endpoint]:
    with server.Endpoint() as running:
        yield running


def model(far: server.Endpoint, key: str | None = server.KEY, **more: Any) -> RemoteModel:
    return RemoteModel(Endpoint(far.url, "big", **{"timeout_s": 0.4, **more}), key)


def test_it_asks_as_it_is_told_and_reads_the_answer(far: server.Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://somewhere-else")
    answer = model(far, max_tokens=77).ask(MESSAGES, 0.25)
    assert (answer.text, answer.tokens_in, answer.tokens_out) == ("Thought: the door is ahead.\nAction: walk", 100, 10)
    assert answer.seconds > 0
    [asked] = far.requests
    assert asked == {"model": "big", "messages": MESSAGES, "max_tokens": 77, "temperature": 0.25}
    assert far.headers_seen[0]["authorization"] == f"Bearer {server.KEY}"
    assert "somewhere-else" not in str(far.headers_seen)


def test_without_a_key_none_is_sent_and_without_a_temperature_none(
    far: server.Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", server.KEY)
    model(far, key=None).ask(MESSAGES, None)
    assert "authorization" not in far.headers_seen[0]
    assert "temperature" not in far.requests[0]


KINDS = {
    "429": "http_429",
    "429 bare": "http_429",
    "500": "http_500",
    "503": "http_503",
    "502 page": "http_502",
    "hang": "timeout",
    "drip": "timeout",
    "reset": "connection",
    "reset in body": "reset",
    "short body": "truncated",
    "no json": "truncated",
    "no choices": "empty",
    "null choices": "empty",
    "error as success": "empty",
    "401": "http_401",
    "402": "http_402",
    "no quota": "http_402",
    "404": "http_404",
    "400": "http_400",
    "too long": "context",
}


@pytest.mark.parametrize("fault", KINDS)
def test_each_fault_has_its_name_and_none_is_tried_again_unasked(far: server.Endpoint, fault: str) -> None:
    far.choose = lambda number: fault
    with pytest.raises(Fault) as found:
        model(far).ask(MESSAGES, 0)
    assert found.value.kind == KINDS[fault]
    assert found.value.final is (fault not in server.PASSING)
    assert server.KEY not in str(found.value)
    assert found.value.retry_after_s == (0.05 if fault == "429" else None)
    assert far.asked == 1


def test_nobody_there_is_a_fault(far: server.Endpoint) -> None:
    gone = RemoteModel(Endpoint("http://127.0.0.1:9/v1", "big", timeout_s=1))
    with pytest.raises(Fault) as found:
        gone.ask(MESSAGES, 0)
    assert found.value.kind == "connection"


def test_a_key_that_is_repeated_in_an_answer_is_blotted_out(far: server.Endpoint) -> None:
    far.answer = lambda request: f"Action: say {server.KEY}"
    assert model(far).ask(MESSAGES, 0).text == "Action: say [key]"


def test_a_placeholder_is_no_secret(far: server.Endpoint) -> None:
    far.answer = lambda request: "Action: EMPTY the bin"
    assert model(far, key="EMPTY").ask(MESSAGES, 0).text == "Action: EMPTY the bin"


def test_the_newer_name_of_the_limit_is_found(far: server.Endpoint) -> None:
    far.choose = lambda number: "good" if "max_completion_tokens" in far.requests[-1] else "newer"
    server.FAULTS["newer"] = lambda h: h.error(400, "Unsupported parameter: use 'max_completion_tokens' instead.")
    try:
        asked = model(far)
        assert asked.ask(MESSAGES, 0).text
        assert asked.ask(MESSAGES, 0).text
    finally:
        del server.FAULTS["newer"]
    assert ["max_completion_tokens" in request for request in far.requests] == [False, True, True]


def test_a_drip_is_cut_off_in_time(far: server.Endpoint) -> None:
    far.choose, far.hang_s = lambda number: "drip", 20.0
    started = time.monotonic()
    with pytest.raises(Fault):
        model(far).ask(MESSAGES, 0)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "inf"}, None),
    ],
)
def test_what_retry_after_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_retry_after_as_a_date() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after_s({"retry-after": until}) == pytest.approx(29.5, abs=1)


@pytest.mark.parametrize(
    "url",
    ["localhost:80", "ftp://x/v1", "http://", "http://[::1", "http://me:secret@x/v1", "http://x/v1?key=secret", "x"],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as error:
        Endpoint(url, "big")
    assert "secret" not in str(error.value)


def test_the_key_comes_out_of_the_variable_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER", f"  {server.KEY}\n")
    assert key_from("TEACHER") == server.KEY
    assert key_from(None) is None
    for bad in ("", "  ", "kéy", "a\nb"):
        monkeypatch.setenv("TEACHER", bad)
        with pytest.raises(UsageError):
            key_from("TEACHER")
    with pytest.raises(UsageError) as error:
        key_from(server.KEY)  # the key itself, given in place of the name
    assert server.KEY not in str(error.value)


def test_what_shows_an_endpoint_shows_no_key(far: server.Endpoint) -> None:
    asked = model(far)
    assert server.KEY not in f"{asked.endpoint!r} {asked!r}"
