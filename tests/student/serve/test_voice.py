"""Text let out token by token."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.tokenizer_utils import BPEStreamingDetokenizer, NaiveStreamingDetokenizer, TokenizerWrapper

from duomem_mlx.student.serve.voice import Voice
from tests.student import tiny

TOKENIZER = tiny.tokenizer()


def spoken(text: str, stops: list[str]) -> tuple[str, bool]:
    voice, said = Voice(TOKENIZER, stops), ""
    for token in TOKENIZER.encode(text, add_special_tokens=False):
        said += voice.add(token)
        if voice.stopped:
            return said, True
    return said + voice.end(), voice.stopped


@given(
    text=st.text(st.sampled_from("abc\n é→"), max_size=30),
    stops=st.lists(st.text(st.sampled_from("abc\n"), min_size=1, max_size=3), max_size=3),
)
def test_it_ends_before_the_first_stop_text(text: str, stops: list[str]) -> None:
    ends = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    said, stopped = spoken(text, stops)
    assert stopped == bool(ends)
    first = min((end for end, _ in ends), default=None)
    wanted = {text[:begin] for end, begin in ends if end == first} or {text}
    assert said in wanted


@pytest.mark.parametrize("kind", [NaiveStreamingDetokenizer, BPEStreamingDetokenizer])
@pytest.mark.parametrize("text", [" a", "  a", "", "a b ", " é", " →", "\n a"])
def test_it_is_what_the_tokenizer_decodes(kind: Any, text: str) -> None:
    tokenizer = TokenizerWrapper(TOKENIZER._tokenizer, kind)
    tokens = tokenizer.encode(text, add_special_tokens=False)
    for lead in ("", " "):
        voice = Voice(tokenizer, [], lead)
        said = "".join(map(voice.add, tokens)) + voice.end()
        assert said == tokenizer.decode(tokens).removeprefix(lead)


def test_text_comes_as_soon_as_it_is_certain() -> None:
    voice = Voice(TOKENIZER, ["stop"])
    pieces = [voice.add(token) for token in TOKENIZER.encode("a ste", add_special_tokens=False)]
    assert pieces == ["a", " ", "", "", "ste"]
