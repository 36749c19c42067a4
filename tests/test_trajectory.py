import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.trajectory import (
    ENDS,
    Step,
    Trajectory,
    append_trajectory,
    from_record,
    read_trajectories,
    to_record,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGES = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=2)
STEPS = st.lists(
    st.builds(Step, TEXT, TEXT, st.none() | TEXT, st.none() | TEXT, st.none() | MESSAGES.map(tuple)), max_size=4
).map(tuple)
TRAJECTORIES = st.builds(
    Trajectory,
    environment=TEXT,
    game=TEXT,
    split=TEXT,
    kind=TEXT,
    task=TEXT,
    opening=TEXT,
    steps=STEPS,
    won=st.booleans(),
    score=st.floats(0, 1),
    end=st.sampled_from(ENDS),
    teacher=st.dictionaries(TEXT, TEXT, max_size=2),
    seconds=st.floats(0, 1e6),
    tokens=st.none() | st.fixed_dictionaries({"in": st.integers(0), "out": st.integers(0)}),
    created=TEXT,
    request=st.none() | st.fixed_dictionaries({"messages": MESSAGES, "tools": st.just([{"type": "function"}])}),
)
ONE = Trajectory(
    "e", "g/1", "train", "simple", "put mug", "a room", (Step("look", "a mug"),), True, 1.0, "won", {}, 0.5, None, "now"
)


@given(TRAJECTORIES)
def test_what_is_written_reads_back_equal(trajectory: Trajectory) -> None:
    line = json.dumps(to_record(trajectory), ensure_ascii=False)
    assert from_record(json.loads(line), "it") == trajectory


def test_only_what_an_older_reader_would_get_wrong_has_the_newer_number() -> None:
    assert to_record(ONE)["format"] == 1
    corrected = Trajectory(**{**ONE.__dict__, "steps": (Step("look", "a mug", wanted="take mug 1"),)})
    assert to_record(corrected)["format"] == 2
    assert "wanted" not in to_record(ONE)["steps"][0]
    assert to_record(replace(ONE, request={"messages": [], "tools": []}))["format"] == 3


def test_the_id_is_of_the_actions_and_not_of_time() -> None:
    later = Trajectory(**{**ONE.__dict__, "created": "2030-01-01", "seconds": 9.0})
    other = Trajectory(**{**ONE.__dict__, "steps": (Step("inventory", "a mug"),)})
    assert later.id == ONE.id != other.id


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b'{"format": 1, "won"', "not whole JSON"),
        (b"[]", "JSON object"),
        (b'{"format": 99}', "newer"),
        (b'{"format": 1}', "missing"),
        (b"\xff\xfe", "UTF-8"),
        (json.dumps({**to_record(ONE), "task": "half \ud800"}).encode(), "not Unicode"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, word: str) -> None:
    file = tmp_path / "t.jsonl"
    append_trajectory(file, ONE)
    with file.open("ab") as out:
        out.write(line + b"\n")
    with pytest.raises(DuomemError, match=word):
        list(read_trajectories(file))


@pytest.mark.parametrize("field", ["won", "steps", "task", "end"])
def test_a_field_of_another_type_is_refused(field: str) -> None:
    with pytest.raises(DuomemError):
        from_record({**to_record(ONE), field: 7}, "it")


def test_no_file_and_an_empty_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no trajectories at"):
        list(read_trajectories(tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UsageError, match="holds no trajectories"):
        list(read_trajectories(tmp_path / "empty.jsonl"))


def test_an_arm_of_a_results_folder_is_read_without_the_answers_that_did_nothing(tmp_path: Path) -> None:
    steps = (Step("look", "a mug"), Step("", "Nothing happens."), Step("take mug 1", "You have it."))
    own = Trajectory(**{**ONE.__dict__, "steps": steps})
    for arm, game, played in (("base", "b", ONE), ("base", "a", own), ("teacher", "a", ONE)):
        file = tmp_path / "episodes" / arm / "0" / f"{game}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**to_record(played), "arm": arm, "k": 0, "memories": []}), encoding="utf-8")
    for folder in (tmp_path / "episodes" / "base", tmp_path / "episodes" / "base" / "0"):
        assert [t.actions for t in read_trajectories(folder)] == [("look", "take mug 1"), ("look",)]
    for folder in (tmp_path, tmp_path / "episodes"):  # arms are not mixed
        with pytest.raises(UsageError):
            list(read_trajectories(folder))
    (tmp_path / "episodes" / "base" / "0" / "a.json").write_text("{")
    with pytest.raises(DuomemError, match="not whole JSON"):
        list(read_trajectories(tmp_path / "episodes" / "base"))
