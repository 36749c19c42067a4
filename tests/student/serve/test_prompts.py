"""Messages as tokens: what the template gives, and nothing that anybody smuggles in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.prompt import COMPACT, Example
from duomem_mlx.student.serve.prompts import make_prompts
from duomem_mlx.student.serve.shapes import ApiError
from duomem_mlx.student.transcript import ChatWriter, CompactWriter
from duomem_mlx.student.untrusted import control_tokens
from tests.student import tiny

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": "A sofa."},
    {"role": "user", "content": "And that?\nOver there."},
]
EXAMPLES = [Example("put a box away", "Find it.\nCarry it."), Example("look", "Look.")]
TEMPLATES = {
    name: value for name, value in vars(tiny).items() if name.isupper() and isinstance(value, str) and "{%" in value
}
WORDS = ("</think>", "<tool_call>")
PIECES = ("<|im_end|>", "<|im_start|>", "</think>", "<|im_", "end|>", "\ue0000\ue001", "\n", "system", "a", "[INST]")


@pytest.mark.parametrize(
    "name", ["CHATML", "EMPTY_THOUGHT", "THOUGHTS_OF_THE_LAST", "SYSTEM_MOVES", "FORGETS", "COUNTS"]
)
def test_it_is_what_the_template_gives(name: str) -> None:
    tokenizer = tiny.tokenizer(TEMPLATES[name], words=WORDS)
    wanted = tokenizer.apply_chat_template(TALK, add_generation_prompt=True, enable_thinking=False)
    assert make_prompts(tokenizer, "chat").tokens(TALK, ()) == wanted


def test_memories_stand_where_an_agents_do() -> None:
    tokenizer = tiny.tokenizer()
    prompts, writer = make_prompts(tokenizer, "chat"), ChatWriter.of(tokenizer, "Be brief.")
    assert prompts.tokens(TALK[:2], EXAMPLES) == writer.start("What is it?", EXAMPLES)


def test_memories_make_a_system_text_where_there_is_none() -> None:
    tokenizer = tiny.tokenizer()
    text = tokenizer.decode(make_prompts(tokenizer, "chat").tokens(TALK[1:2], EXAMPLES))
    assert text.startswith("<|im_start|>system\nWhat helped in similar tasks:\n\nExample 1")


def test_a_system_text_without_a_place_opens_the_users_first_message() -> None:
    tokenizer = tiny.tokenizer(tiny.NO_SYSTEM)
    text = tokenizer.decode(make_prompts(tokenizer, "chat").tokens(TALK[:2], ()))
    assert text == "<|im_start|>user\nBe brief.\n\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"


def test_parts_are_lines_and_developers_are_the_system() -> None:
    tokenizer = tiny.tokenizer()
    parts = [{"type": "text", "text": "What"}, {"type": "text", "text": "is it?"}]
    sent = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    wanted = [TALK[0], {"role": "user", "content": "What\nis it?"}]
    prompts = make_prompts(tokenizer, "chat")
    assert prompts.tokens(sent, ()) == prompts.tokens(wanted, ())


@pytest.mark.parametrize("style", ["chat", COMPACT])
def test_pictures_are_refused(style: str) -> None:
    sent = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    with pytest.raises(ApiError, match="text alone") as refused:
        make_prompts(tiny.tokenizer(), style).tokens(sent, ())
    assert refused.value.status == 400


def test_what_a_template_refuses_is_told() -> None:
    template = "{{ raise_exception('Roles must alternate.') }}"
    with pytest.raises(ApiError, match="refuses these messages: Roles must alternate\\."):
        make_prompts(tiny.tokenizer(template), "chat").tokens(TALK, ())


def test_tool_calls_reach_the_template() -> None:
    template = (
        "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
        "{% for m in messages %}{{ m.role + ':' + m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name + '/' + (c.function.arguments.place or '') }}{% endfor %}|"
        "{% endfor %}"
    )
    call = {"id": "1", "type": "function", "function": {"name": "go", "arguments": '{"place": "sofa<|im_end|>"}'}}
    sent = [TALK[1], {"role": "assistant", "content": None, "tool_calls": [call]}]
    sent.append({"role": "tool", "tool_call_id": "1", "content": "You went."})
    tokenizer = tiny.tokenizer(template)
    tokens = make_prompts(tokenizer, "chat").tokens(sent, ())
    assert tokenizer.decode(tokens) == "user:What is it?|assistant:go/sofa<|im_end|>|tool:You went.|"
    assert control_tokens(tokenizer).isdisjoint(tokens)


@pytest.mark.parametrize("role", ["system", "user", "tool", "memory"])
@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_nobody_gives_a_control_token(role: str, text: str) -> None:
    tokenizer = TOKENIZER
    control = control_tokens(tokenizer)
    prompts = PROMPTS

    def controls(said: str) -> list[int]:
        if role == "memory":
            tokens = prompts.tokens(TALK, [Example("go", f"x{said}x")])
        else:
            tokens = prompts.tokens([*TALK, {"role": role, "content": f"x{said}x"}], ())
        return [token for token in tokens if token in control]

    assert controls(text) == controls("nothing")
    if role == "user":
        tokens = prompts.tokens([{"role": "user", "content": f"x{text}x"}], ())
        assert tokenizer.decode(tokens) == f"<|im_start|>user\nx{text}x<|im_end|>\n<|im_start|>assistant\n"


@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_an_answer_begins_and_ends_no_turn(text: str) -> None:
    special = frozenset(TOKENIZER.all_special_ids)
    said = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": s}] for s in (text, "nothing")]
    found = [[token for token in PROMPTS.tokens(messages, ()) if token in special] for messages in said]
    assert found[0] == found[1]


TOKENIZER = tiny.tokenizer(words=WORDS)
PROMPTS = make_prompts(TOKENIZER, "chat")


def test_compact_is_written_as_games_are() -> None:
    tokenizer = tiny.tokenizer()
    writer = CompactWriter.of(tokenizer, lambda text: text.replace("room", "r"))
    prompts = make_prompts(tokenizer, COMPACT, lambda text: text.replace("room", "r"))
    sent = [
        {"role": "system", "content": "Ignored."},
        {"role": "user", "content": "A room."},
        {"role": "user", "content": "Your task is to: look."},
        {"role": "assistant", "content": "look"},
        {"role": "tool", "content": "You see a room."},
    ]
    wanted = writer.start("A room.\nYour task is to: look.", EXAMPLES)
    wanted += writer.action("look") + writer.observation("You see a room.")
    assert prompts.tokens(sent, EXAMPLES) == wanted


@pytest.mark.parametrize("roles", [["assistant"], ["system"], ["user", "assistant"], ["assistant", "user"]])
def test_compact_needs_an_opening_and_something_to_answer(roles: list[str]) -> None:
    with pytest.raises(ApiError, match="first and the last message"):
        make_prompts(tiny.tokenizer(), COMPACT).tokens([{"role": role, "content": "x"} for role in roles], ())
