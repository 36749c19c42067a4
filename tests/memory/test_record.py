import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory.record import MAX_BYTES, MAX_STEPS, Memory, Source, check, from_record, to_record
from tests.memory.hashing import memory

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
memories = st.builds(
    Memory,
    task=text.filter(str.strip),
    script=text.filter(str.strip),
    steps=st.lists(text, max_size=4).map(tuple),
    source=st.builds(Source, text, text, text, text, text, st.booleans()),
    key=text,
    uses=st.integers(5, 9),
    wins=st.integers(0, 5),
    strength=st.integers(1, 9),
    created=text,
)


@given(memories)
def test_what_is_written_reads_back_equal(made: Memory) -> None:
    line = json.dumps(to_record(made), ensure_ascii=False)
    assert from_record(json.loads(line), "here") == made


def test_the_id_is_of_the_content_and_of_nothing_else() -> None:
    one = memory()
    later = replace(one, created="2030-01-01", uses=3, source=replace(one.source, game="g2"), key="other")
    assert one.id == later.id
    assert len({m.id for m in (one, replace(one, task="x"), replace(one, script="x"), replace(one, steps=("x",)))}) == 4


def test_the_same_experience_is_task_and_script_or_steps_where_there_is_no_script() -> None:
    one = memory()
    assert one.experience == replace(one, steps=("other",)).experience
    bare = replace(one, script="")
    assert bare.experience != replace(bare, steps=("other",)).experience


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": 1}, "text expected, found int"),
        ({"task": " "}, "no task"),
        ({"script": "", "steps": []}, "neither script nor steps"),
        ({"script": "x" * (MAX_BYTES + 1)}, "bytes of text"),
        ({"steps": ["x"] * (MAX_STEPS + 1)}, "steps, at most"),
        ({"steps": "go to sofa 1"}, "a list of texts expected"),
        ({"steps": [None]}, "text expected, found NoneType"),
        ({"source": None}, "not a memory"),
        ({"source": {}}, "'environment' is missing"),
        ({"uses": True}, "whole number expected, found bool"),
        ({"uses": 1.0}, "whole number expected, found float"),
        ({"uses": 1, "wins": 2}, "impossible counts"),
        ({"strength": 0}, "impossible counts"),
        ({"strength": 2**70}, "impossible counts"),
        ({"script": "\ud800"}, "not Unicode"),
        ({"id": "0" * 16}, "id that is not its content's"),
        ({"format": 2}, "Install a newer duomem-mlx"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, object], says: str) -> None:
    record = {**to_record(memory()), **change}
    if "id" not in change:
        del record["id"]
    with pytest.raises(DuomemError, match=says) as caught:
        from_record(record, "Line 7")
    assert "Line 7" in str(caught.value)


@pytest.mark.parametrize("field", ["task", "script", "steps", "source", "uses", "wins", "strength", "created"])
def test_a_missing_field_is_named(field: str) -> None:
    record = to_record(memory())
    del record[field]
    with pytest.raises(DuomemError, match=f"'{field}' is missing"):
        from_record(record, "here")


def test_a_memory_made_in_the_program_is_held_to_the_same() -> None:
    with pytest.raises(DuomemError, match="no task"):
        check(memory(task=""), "it")
