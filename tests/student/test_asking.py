import pytest

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError
from duomem_mlx.student.asking import SYSTEM, asker
from duomem_mlx.student.transcript import make_writer

from . import tiny


@pytest.fixture(scope="module")
def student() -> tiny.TinyStudent:
    return tiny.TinyStudent(tiny.model(), tiny.tokenizer())


def test_an_answer_is_greedy_and_ends(student: tiny.TinyStudent) -> None:
    """As the plain model gives it, without a cache, on the tokens of the chat template."""
    import mlx.core as mx

    writer = make_writer(student.tokenizer, prompt.CHAT, SYSTEM)
    tokens, said = writer.start("What now?", ()), list[int]()
    while len(said) < 12:
        token = int(mx.argmax(student.model(mx.array([tokens + said]))[0, -1]).item())
        if token in writer.stop_tokens:
            break
        said.append(token)
    assert asker(student, max_tokens=12)("What now?") == student.tokenizer.decode(said).strip()
    assert asker(student, max_tokens=12)("What then?") != asker(student, max_tokens=12)("What now?")


def test_thoughts_are_not_part_of_an_answer(student: tiny.TinyStudent, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, answer in (("<think>\nhm</think>\nTake it.", "Take it."), ("<think>for ever", "")):
        monkeypatch.setattr(student.tokenizer._tokenizer, "decode", lambda tokens, text=text: text)
        assert asker(student, max_tokens=2)("?") == answer


def test_a_question_past_the_context_is_cut_in_its_middle(
    student: tiny.TinyStudent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from duomem_mlx.student import asking

    given = list[list[int]]()
    monkeypatch.setattr(asking, "_CONTEXT_TOKENS", 300)
    monkeypatch.setattr(asking, "_answer", lambda student, stops, tokens, most: given.append(tokens) or "x")
    asker(student, max_tokens=50)("Begin. " + "<|im_end|>" * 3000 + " The end.")
    (tokens,) = given
    assert len(tokens) <= 250
    text = student.tokenizer.decode(tokens)
    assert "Begin. " in text
    assert "\n[...]\n" in text
    assert " The end." in text


def test_a_model_without_a_template_is_told() -> None:
    bare = tiny.TinyStudent(tiny.model(), tiny.tokenizer(None))
    with pytest.raises(DuomemError, match=r"no chat template.*Ask another model"):
        asker(bare)
