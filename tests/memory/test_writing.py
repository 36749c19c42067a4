import json
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.household.environment import household
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.scripts import in_form, memory_of
from duomem_mlx.memory.writing import finder, remembered, rewriter, writer
from tests.memory.hashing import HashingEncoder, memory
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
    assert writer(model, general=household().general)(PLAYED) == "Look on sofa for the box."
    assert writer(Model("Heat it\nto 100 degrees."))(PLAYED) == "Heat it to 100 degrees."
    (asked,) = model.asked
    assert "> take box 1 from sofa 1" in asked
    assert PLAYED.task in asked


def test_how_a_world_wants_it_written_is_asked_for_and_nothing_of_another_world() -> None:
    for way, answers in (("direct", ("Go.",)), ("rounds", ("E", "C", "Go."))):
        told, plain = Model(*answers), Model(*answers)
        writer(told, way, advice="Say nothing of sofas.")(PLAYED)
        writer(plain, way)(PLAYED)
        assert "Say nothing of sofas. " in told.asked[-1]
        assert [said.replace("Say nothing of sofas. ", "") for said in told.asked][-1] == plain.asked[-1]
        assert not any(word in said for said in plain.asked for word in ("text world", "opened", "place"))


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
    assert rewriter(model, household().general)(old, PLAYED) == "Look in the drawer too."
    assert old.script in model.asked[0]
    assert "> go to sofa 1" in model.asked[0]


def test_nothing_is_asked_twice_even_after_a_crash(tmp_path: Path) -> None:
    journal = tmp_path / "asked.jsonl"
    first = Model("One.", "Two.")
    ask = remembered(first, "model", journal)
    assert not journal.exists()
    assert [ask("a"), ask("b"), ask("a")] == ["One.", "Two.", "One."]
    data = journal.read_bytes()
    journal.write_bytes(data[:-9])  # a line that was cut short
    second = Model("Three.")
    ask = remembered(second, "model", journal)
    assert [ask("a"), ask("b")] == ["One.", "Three."]
    assert len(second.asked) == 1
    assert remembered(Model("Another."), "another model", journal)("a") == "Another."
    assert all(json.loads(line)["format"] == 1 for line in journal.read_text().splitlines())
    for damage in ("{}\n", "[]\n", "x\n"):
        journal.write_text(damage)
        with pytest.raises(DuomemError, match="is damaged"):
            remembered(Model("x"), "model", journal)("a")


def test_rounds_that_were_stopped_go_on_where_they_were(tmp_path: Path) -> None:
    class Gone(Model):
        def __call__(self, question: str) -> str:
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().__call__(question)

    with pytest.raises(KeyboardInterrupt):
        writer(remembered(Gone("EVENTS", "CRITICAL"), "m", tmp_path / "j.jsonl"), "rounds")(PLAYED)
    rest = Model("Take it.")
    assert writer(remembered(rest, "m", tmp_path / "j.jsonl"), "rounds")(PLAYED) == "Take it."
    assert "CRITICAL" in rest.asked[0]


def test_key_facts_are_asked_for_once_and_are_one_general_line() -> None:
    model = Model("put:\nbox 2, dresser 1 " + "x" * 500)
    find = finder(model)
    assert find("put some box on dresser", "A room.").startswith("put: box, dresser x")
    assert len(find("put some box on dresser", "A room.")) == 200
    (asked,) = model.asked
    assert "put some box on dresser" in asked
    assert "A room." in asked


def test_a_bank_by_facts_is_asked_with_the_facts_of_its_own_finder(tmp_path: Path) -> None:
    facts = finder(lambda question: "box, dresser" if "box" in question else "pen, shelf")
    with Bank.create(tmp_path / "bank", HashingEncoder(), by="facts", finder="student facts-1 x@1") as bank:
        with pytest.raises(UsageError, match="need a model that finds them"):
            bank.question("put box", "A room.")
        bank.facts = facts
        bank.add([memory_of(trajectory(task=task), None, "facts", facts) for task in ("put box", "put pen")])
        (hit,) = bank.search(bank.question("move some box elsewhere", "A hall."), 1)
        assert (hit.memory.task, hit.memory.key) == ("put box", "box, dresser")
        assert hit.cosine == pytest.approx(1)
        bank.export(tmp_path / "sealed")
        bank.copy(tmp_path / "copy").close()
    for name in ("sealed", "copy"):
        with Bank.open(tmp_path / name, HashingEncoder()) as again:
            assert (again.by, again.finder) == ("facts", "student facts-1 x@1")
    with (
        Bank.create(tmp_path / "other", HashingEncoder(), by="facts", finder="another") as other,
        Bank.open(tmp_path / "copy", HashingEncoder()) as copy,
        pytest.raises(UsageError, match="is found by facts student"),
    ):
        other.add_bank(copy)


def test_three_forms() -> None:
    assert in_form(lambda t: "How. ", "script")(PLAYED) == "How. "
    assert in_form(None, "trajectory")(PLAYED) == "go to sofa 1; take box 1 from sofa 1."
    assert in_form(lambda t: "How. ", "both")(PLAYED) == "How.\nFor example: go to sofa 1; take box 1 from sofa 1."
    with pytest.raises(DuomemError, match="no form 'poem'"):
        in_form(None, "poem")
