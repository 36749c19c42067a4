"""Bodies, good and bad."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.student.serve.shapes import ApiError, read_body, read_request

HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not whole JSON"),
        (b"{", "not whole JSON"),
        (b"\xff\xfe", "not whole JSON"),
        (b'{"messages": NaN}', "not whole JSON"),
        (b"[" * 100_000, "not whole JSON"),
        (b'{"messages": ' + b"1" * 5000 + b"}", "not whole JSON"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "not Unicode"),
        (b"[]", "no JSON object"),
        (b"{}", "messages: Field required"),
        (b'{"messages": []}', "messages: List should have at least 1 item"),
        (b'{"messages": "hello"}', "messages: Input should be a valid list"),
        (b'{"messages": [1]}', "messages.0"),
        (b'{"messages": [{"content": "x"}]}', "messages.0.role: Field required"),
        (b'{"messages": [{"role": "king", "content": "x"}]}', "messages.0.role"),
        (b'{"messages": [{"role": "user", "content": 1}]}', "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": ["x"]}]}', "messages.0.content"),
        (b'{"messages": [{"role": "assistant", "tool_calls": "x"}]}', "messages.0.tool_calls"),
    ],
)
def test_a_body_that_is_off_is_told(body: bytes, words: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_body(body)
    assert refused.value.status == 400
    error = refused.value.body["error"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1),
        ("temperature", 3),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", 1.5),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_completion_tokens", -3),
        ("stop", 7),
        ("stop", [None]),
        ("seed", "x"),
        ("n", 2),
        ("stream", "yes"),
        ("stream_options", []),
    ],
)
def test_a_field_that_is_off_is_named(field: str, value: object) -> None:
    with pytest.raises(ApiError) as refused:
        read_request({"messages": HELLO, field: value})
    assert refused.value.status == 400
    assert refused.value.body["error"]["param"].startswith(field)


def test_null_and_unknown_fields_are_nothing() -> None:
    bare = read_request({"messages": HELLO})
    fields = ("temperature", "top_p", "max_tokens", "stop", "seed", "n", "stream", "stream_options")
    assert read_request({"messages": HELLO, **dict.fromkeys(fields), "logit_bias": {}, "user": 7}) == bare
    assert read_request({"stop": "", "max_completion_tokens": 3, "max_tokens": 9}).most_tokens == 3
    assert read_request({"stop": ["a", ""]}).stops == ["a"]


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["messages", "temperature", "stop", "n", "max_tokens", "stream"]), JSONS))
def test_nothing_but_a_refusal_comes_of_nonsense(value: dict[str, object]) -> None:
    with suppress(ApiError):
        read_request(read_body(json.dumps(value).encode()))
