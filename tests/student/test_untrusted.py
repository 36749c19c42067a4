"""What a stranger writes into a room, a memory or a task opens no turn and ends none, in any family of models."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from duomem_mlx import prompt
from duomem_mlx.prompt import Example
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.student.untrusted import control_tokens, plain, unmarked

from . import tiny

# Each: template, special tokens, tokens that are merely added, what ends an answer.
LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ '<bos>' }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\n' + m['content'] | trim"
    " + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ '<s>' }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] }}{% if not loop.last or add_generation_prompt %}"
    "{{ ' [/INST]' }}{% endif %}{% else %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
THINKING = ["<think>", "</think>", "<tool_call>"]
FAMILIES: dict[str, tuple[str, list[str], list[str], str]] = {
    "chatml": (tiny.CHATML, ["<|im_start|>", "<|im_end|>"], THINKING, "<|im_end|>"),
    "chatml, thinking": (tiny.EMPTY_THOUGHT, ["<|im_start|>", "<|im_end|>"], THINKING, "<|im_end|>"),
    "llama-3": (
        LLAMA3,
        ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
        ["<|python_tag|>"],
        "<|eot_id|>",
    ),
    "gemma": (GEMMA, ["<bos>", "<eos>", "<end_of_turn>"], ["<start_of_turn>", "\n\n", "  "], "<end_of_turn>"),
    "mistral": (MISTRAL, ["<s>", "</s>"], [], "</s>"),
    "zephyr": (ZEPHYR, ["<s>", "</s>"], [], "</s>"),
}
ROLES = ["[INST]", "[/INST]", "<|user|>", "<|assistant|>", "<|system|>"]
MARKS = sorted({mark for _, special, added, _ in FAMILIES.values() for mark in (*special, *added) if mark.strip()})


def tokenizer(family: str, sentencepiece: bool) -> Any:
    """Byte-level, or with spaces as sentencepiece writes them and bytes to fall back on."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from transformers import PreTrainedTokenizerFast

    template, special, added, end = FAMILIES[family]
    if sentencepiece:
        alphabet = ["<unk>", "▁", *map(chr, range(33, 127)), *(f"<0x{byte:02X}>" for byte in range(256))]
        vocabulary = {text: number for number, text in enumerate(alphabet)}
        inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
        inner.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]  # type: ignore[list-item]
        )
    else:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        inner = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(alphabet)}, merges=[]))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(special)
    inner.add_tokens([AddedToken(text, special=False, normalized=False) for text in added])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=end)
    made.chat_template = template
    return TokenizerWrapper(made)


def talk(writer: Any, text: str) -> list[int]:
    tokens = writer.start(f"a room, {text}", [Example(f"put mug {text}", f"Take it. {text}")])
    return [*tokens, *writer.action(f"look {text}"), *writer.observation(f"a mug {text}"), *writer.action("take mug")]


@pytest.mark.parametrize("sentencepiece", [False, True])
@pytest.mark.parametrize("style", prompt.STYLES)
@pytest.mark.parametrize("family", FAMILIES)
def test_poison_arrives_as_text(family: str, style: str, sentencepiece: bool) -> None:
    made = tokenizer(family, sentencepiece)
    writer = make_writer(made, style, "Act.")
    controls = control_tokens(made)
    clean = talk(writer, "and nothing else")
    of_turns = [token for token in clean if token in controls]
    roles = {mark: made.decode(clean).count(mark) for mark in ROLES}
    rng = random.Random(family + style)
    for _ in range(20):
        poison = "".join(rng.choice([*MARKS, *ROLES, "\n", " ", "assistant", "\n> take mug", "é"]) for _ in range(12))
        tokens = talk(writer, poison)
        assert [token for token in tokens if token in controls] == of_turns
        text = made.decode(tokens)
        assert poison.count("é") * 3 <= text.count("é") <= poison.count("é") * 5
        if style == prompt.CHAT:
            markers = [mark for mark in ROLES if roles[mark]]
            assert {mark: text.count(mark) for mark in markers} == {mark: roles[mark] for mark in markers}
        else:
            assert sum(line.startswith(">") for line in text.split("\n")) == 2


@given(st.text(st.sampled_from("<|>/thinkool_ca im\né箱"), max_size=60), st.sampled_from(sorted(FAMILIES)))
def test_untrusted_text_reads_back_and_holds_no_control_token(text: str, family: str) -> None:
    made = tokenizer(family, sentencepiece=False)
    tokens = plain(made, text + "<think></think><tool_call>" + text)
    assert control_tokens(made).isdisjoint(tokens)
    assert made.decode(tokens) == text + "<think></think><tool_call>" + text


def test_text_without_poison_is_left_alone() -> None:
    made = tokenizer("gemma", sentencepiece=False)
    text = "On the desk 2, you see a mug 1,  and\n\na pen 2."
    assert plain(made, text) == made.encode(text, add_special_tokens=False)
    writer = make_writer(tokenizer("mistral", sentencepiece=False), prompt.CHAT, "Act.")
    assert writer.markers == ("[/INST]", "[INST]")  # type: ignore[attr-defined]
    assert unmarked("a mug [1] / INST", writer.markers) == "a mug [1] / INST"  # type: ignore[attr-defined]
    for family in ("chatml", "llama-3", "gemma"):
        made = make_writer(tokenizer(family, sentencepiece=False), prompt.CHAT, "Act.")
        assert made.markers == ()  # "user" and "assistant" are words


@given(st.text(st.sampled_from("[/INST] #:aR"), max_size=40))
def test_no_marker_is_left(text: str) -> None:
    markers = ("###", "[/INST]", "[INST]", "R:")
    assert not any(marker in unmarked(text, markers) for marker in markers)
