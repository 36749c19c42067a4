import json
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory.scripts import in_form
from duomem_mlx.memory.writing import remembered, rewriter, writer
from tests.memory.hashing import memory
from tests.memory.test_scripts import trajectory

PLAYED = trajectory(actions=("go to sofa 1", "take box 1 from sofa 1"))


class Model:
    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), list[str]()

    def __call__(self, question: str) -> str:
        self.asked.append(question)
        return self.answers.pop(0)


def test_direct_asks_once_and_speaks_in_general_terms() -> None:
    model = Model("  \n`Look on sofa 1\nfor the box 2.`\n")
    assert writer(model)(PLAYED) == "Look on sofa for the box."
    (asked,) = model.asked
    assert "> take box 1 from sofa 1" in asked
    assert PLAYED.task in asked


def test_rounds_build_on_each_other() -> None:
    model = Model("EVENTS", "CRITICAL", "Take it.")
    assert writer(model, "rounds")(PLAYED) == "Take it."
    assert "> go to sofa 1" in model.asked[0]
    assert "EVENTS" in model.asked[1]
    assert "CRITICAL" in model.asked[2]


def test_what_a_model_says_is_cut_and_never_nothing() -> None:
    long = writer(Model("Take it there. " * 2000))(PLAYED)
    assert len(long) <= 1200
    assert long.endswith("there.")
    with pytest.raises(DuomemError, match="wrote no script for g1"):
        writer(Model(" \n"))(PLAYED)


def test_braces_and_long_games_do_no_harm() -> None:
    model = Model("{ok}")
    odd = trajectory(actions=('{"x": {0}}',) * 5000)
    assert writer(model)(odd) == "{ok}"
    assert len(model.asked[0]) < 30_000


def test_a_rewriter_sees_the_old_script_and_the_failure() -> None:
    model = Model("Look in the drawer 3 too.")
    old = memory()
    assert rewriter(model)(old, PLAYED) == "Look in the drawer too."
    assert old.script in model.asked[0]
    assert "> go to sofa 1" in model.asked[0]


def test_nothing_is_asked_twice_even_after_a_crash(tmp_path: Path) -> None:
    journal = tmp_path / "scripts.jsonl"
    other = trajectory("g2")
    first = Model("One.", "Two.")
    write = remembered(writer(first), "model", journal)
    assert [write(PLAYED), write(other), write(PLAYED)] == ["One.", "Two.", "One."]
    data = journal.read_bytes()
    journal.write_bytes(data[:-9])  # a line that was cut short
    second = Model("Three.")
    write = remembered(writer(second), "model", journal)
    assert [write(PLAYED), write(other)] == ["One.", "Three."]
    assert len(second.asked) == 1
    assert remembered(writer(Model("Another.")), "another model", journal)(PLAYED) == "Another."
    assert all(json.loads(line)["format"] == 1 for line in journal.read_text().splitlines())
    journal.write_text("{}\n")
    with pytest.raises(DuomemError, match="is damaged"):
        remembered(writer(Model()), "model", journal)


def test_three_forms() -> None:
    assert in_form(lambda t: "How. ", "script")(PLAYED) == "How. "
    assert in_form(None, "trajectory")(PLAYED) == "go to sofa 1; take box 1 from sofa 1."
    assert in_form(lambda t: "How. ", "both")(PLAYED) == "How.\nFor example: go to sofa 1; take box 1 from sofa 1."
    with pytest.raises(DuomemError, match="no form 'poem'"):
        in_form(None, "poem")
