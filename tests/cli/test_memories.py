import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.cli import writers
from duomem_mlx.cli.main import app, status
from duomem_mlx.memory import encoder
from duomem_mlx.memory.bank import Bank
from duomem_mlx.trajectory import append_trajectory
from tests.memory.hashing import HashingEncoder, memory
from tests.memory.test_scripts import trajectory
from tests.teachers import endpoint as server

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setattr(encoder, "load_encoder", lambda name=None: HashingEncoder(name=name or "hashing"))

    def made(*words: object) -> tuple[int, str, str]:
        code = status(lambda: app(["memories", *map(str, words)]))
        said = capsys.readouterr()
        return code, said.out, said.err

    return made


@pytest.fixture
def played(tmp_path: Path) -> Path:
    file = tmp_path / "trajectories.jsonl"
    for number, (thing, place) in enumerate((t, p) for t in ("box", "pen", "mug") for p in ("dresser", "shelf")):
        task = f"put some {thing} on {place}"
        for game in ("a", "b"):
            actions = (
                "go to sofa 1",
                f"take {thing} 1 from sofa 1",
                f"go to {place} 1",
                f"move {thing} 1 to {place} 1",
            )
            append_trajectory(file, trajectory(f"{game}{number}", actions, task=task))
    append_trajectory(file, trajectory("lost", task="never done", won=False))
    return file


@pytest.fixture
def bank(call: Call, played: Path, tmp_path: Path) -> Path:
    assert call("build", played, "--out", tmp_path / "bank")[0] == 0
    return tmp_path / "bank"


def as_json(call: Call, *words: object) -> dict[str, Any]:
    code, out, _ = call(*words, "--json")
    assert code == 0
    (line,) = out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_build_makes_a_memory_of_every_success(call: Call, played: Path, tmp_path: Path) -> None:
    counts = as_json(call, "build", played, "--out", tmp_path / "bank")
    assert (counts["count"], counts["trajectories"], counts["tasks"], counts["form"]) == (6, 12, 6, "live")
    with Bank.open(tmp_path / "bank") as bank:
        assert all(memory.strength == 2 for memory in bank)
        assert bank.verify() == []


def test_the_same_build_again_is_done_already_and_another_is_refused(call: Call, played: Path, bank: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in bank.iterdir() if file.name == "bank.sqlite3"}
    code, _, err = call("build", played, "--out", bank)
    assert code == 0
    assert "was built from these trajectories before" in err
    assert {file.name: file.stat().st_mtime_ns for file in bank.iterdir() if file.name == "bank.sqlite3"} == before
    code, _, err = call("build", played, "--out", bank, "--limit", 3)
    assert code == 2
    assert "is there already" in err
    assert as_json(call, "build", played, "--out", bank, "--limit", 3, "--overwrite")["count"] == 3


def test_build_writes_below_runs_when_nothing_is_said(call: Call, played: Path) -> None:
    counts = as_json(call, "build", played)
    assert Path(counts["bank"]).parent == Path("runs")
    assert Bank.open(counts["bank"]).verify() == []


def test_an_interrupted_build_leaves_nothing(
    call: Call, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: HashingEncoder, texts: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(HashingEncoder, "encode", interrupt)
        assert call("build", played, "--out", tmp_path / "bank")[0] == 130
    assert [file.name for file in tmp_path.iterdir()] == ["trajectories.jsonl"]
    assert call("build", played, "--out", tmp_path / "bank")[0] == 0


def test_search_shows_cosines_and_scripts(call: Call, bank: Path) -> None:
    code, out, err = call("search", "put some box on shelf", "-k", 2, "--memories", bank)
    assert code == 0
    first, script = out.splitlines()[:2]
    assert first.startswith(" 1.000  ")
    assert first.endswith("put some box on shelf")
    assert script.startswith(" " * 26)
    assert "memories show" in err
    hits = as_json(call, "search", "put some box on shelf", "-k", 2, "--memories", bank)["hits"]
    assert len(hits) == 2
    assert hits[0]["cosine"] == pytest.approx(1)
    assert hits[0]["task"] == "put some box on shelf"
    assert hits[0]["steps"][0] == "go to sofa 1"


def test_search_can_find_nothing(call: Call, bank: Path) -> None:
    code, out, err = call("search", " ", "--memories", bank)
    assert (code, out, err) == (0, "", "Nothing was found.\n")


def test_search_can_leave_out_failures(call: Call, bank: Path) -> None:
    with Bank.open(bank, HashingEncoder()) as opened:
        failure = memory("put some box on bed")
        opened.add([replace(failure, source=replace(failure.source, won=False))])
    search = ("search", "put some box on bed", "-k", 1, "--memories", bank)
    assert as_json(call, *search)["hits"][0]["task"] == "put some box on bed"
    assert as_json(call, *search, "--won-only")["hits"][0]["task"] != "put some box on bed"


def test_a_terminal_obeys_no_memory(call: Call, bank: Path) -> None:
    poison = "put \x1b]0;owned\x07 \x1b[2J\x9b31m box on bed"
    with Bank.open(bank, HashingEncoder()) as opened:
        (id_,) = opened.add([memory(poison, f"take\r{poison}", steps=(poison,))])
    for words in (("search", poison, "--memories", bank), ("list", bank), ("show", id_, "--memories", bank)):
        code, out, err = call(*words)
        assert code == 0
        assert "\\x1b[2J\\x9b31m box" in out
        assert not set(out + err) & {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))}


def test_a_table_has_a_line_a_memory_and_reads_from_left_to_right(call: Call, bank: Path) -> None:
    poison = "put box\n0123456789abcdef\u202e on\tbed\x9b"
    with Bank.open(bank, HashingEncoder()) as opened:
        opened.add([memory(poison)])
    _, out, _ = call("list", bank)
    assert "put box\\n0123456789abcdef\\u202e on\\tbed\\x9b\n" in out
    _, out, _ = call("search", poison, "--memories", bank, "--json")
    assert not set(out) & {"\u202e", "\x9b"}
    assert json.loads(out)["hits"][0]["task"] == poison


def test_list_show_forget_and_verify(call: Call, bank: Path) -> None:
    listed = as_json(call, "list", bank)["memories"]
    assert len(listed) == 6
    code, out, _ = call("list", bank)
    assert code == 0
    assert all(one["id"] in out for one in listed)
    id_ = listed[0]["id"]
    code, out, _ = call("show", id_[:8], "--memories", bank)
    assert code == 0
    assert "  1  go to sofa 1" in out
    receipt = as_json(call, "forget", id_[:8], "--memories", bank)
    assert (receipt["forgotten"], receipt["left"]) == ([id_], 5)
    code, _, err = call("show", id_, "--memories", bank)
    assert code == 2
    assert "has no memory" in err
    assert call("verify", bank)[0] == 0


def test_add_makes_stronger_what_is_there(call: Call, bank: Path, played: Path, tmp_path: Path) -> None:
    append_trajectory(tmp_path / "more.jsonl", trajectory("new", ("go to bed 1",), task="put some cd on bed"))
    counts = as_json(call, "add", tmp_path / "more.jsonl", played, "--memories", bank)
    assert (counts["added"], counts["strengthened"], counts["memories"]) == (1, 12, 7)


def test_export_and_import(call: Call, bank: Path, tmp_path: Path) -> None:
    counts = as_json(call, "export", bank, "--out", tmp_path / "sealed")
    assert counts["memories"] == 6
    assert as_json(call, "verify", tmp_path / "sealed")["form"] == "sealed"
    assert as_json(call, "import", tmp_path / "sealed", "--out", tmp_path / "new")["added"] == 6
    assert as_json(call, "import", tmp_path / "sealed", "--out", tmp_path / "new")["added"] == 0
    other = as_json(call, "import", tmp_path / "sealed", "--out", tmp_path / "other", "--encoder", "another")
    assert other["memories"] == 6
    assert Bank.open(tmp_path / "other").encoder_id == "another"
    code, _, err = call("forget", "0", "--memories", tmp_path / "sealed")
    assert code == 2
    assert err.count("\n") == 1


def test_a_bank_is_not_imported_into_itself(call: Call, bank: Path) -> None:
    before = as_json(call, "list", bank)
    assert call("import", bank, "--out", bank.parent / "." / "bank")[0] == 2
    assert as_json(call, "list", bank) == before


def test_a_folder_of_something_else_is_no_bank_to_import_into(call: Call, bank: Path, tmp_path: Path) -> None:
    call("export", bank, "--out", tmp_path / "sealed")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").touch()
    for taken in (tmp_path / "full", tmp_path / "full" / "letter"):
        status, _, err = call("import", tmp_path / "sealed", "--out", taken)
        assert status == 2
        assert f"{taken} is there already and is no bank. Choose another --out." in err


def test_memories_of_others_are_imported(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "theirs.jsonl"
    file.write_text('{"query": "put it there", "run": {"acts": ["go", "put"]}}\n{"query": 3}\n')
    words = ("import", file, "--out", tmp_path / "new", "--field", "task=query", "--field", "steps=run.acts")
    counts = as_json(call, *words)
    assert (counts["added"], counts["left_out"]) == (1, {"has query of another kind than text.": 1})
    assert as_json(call, *words)["added"] == 0
    code, _, err = call("import", file, "--out", tmp_path / "other")
    assert code == 2
    assert "--field OURS=THEIRS" in err
    assert not (tmp_path / "other").exists()
    code, _, err = call(*words[:4], "--field", "task")
    assert code == 2
    assert "says not what stands for what" in err


def test_forms_and_keys(call: Call, played: Path, tmp_path: Path) -> None:
    assert as_json(call, "build", played, "--out", tmp_path / "both", "--form", "both", "--by", "room")["count"] == 6
    with Bank.open(tmp_path / "both") as bank:
        one = next(iter(bank))
        assert bank.by == "room"
        assert one.key.startswith(f"{one.task}\n")
        assert "For example: go to sofa 1; take" in one.script
    code, _, err = call("build", played, "--out", tmp_path / "poem", "--form", "poem")
    assert code == 2
    assert "no form 'poem'" in err


class Answers:
    """A model in place of the student; it remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.blank_for = list[str](), "nothing"
        monkeypatch.setitem(writers.MODELS, "student", lambda model: writers.Asked(f"student {model}@1", self.answer))

    def answer(self, question: str) -> str:
        self.asked.append(question)
        thing = next(thing for thing in ("box", "pen", "mug") if f"{thing} on" in question)
        if thing == self.blank_for:
            return " "
        return f"the {thing}" if "At most 12 words" in question else f"Go and take the {thing} 1 first."


def test_the_student_writes_and_is_not_asked_twice(
    call: Call, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Answers(monkeypatch)
    words = ("build", played, "--writer", "student", "--model", "m", "--out", tmp_path / "own")
    code, _, err = call(*words)
    assert code == 0
    assert str(tmp_path / "own.asked.jsonl") in err
    with Bank.open(tmp_path / "own") as bank:
        assert {one.script for one in bank} == {f"Go and take the {thing} first." for thing in ("box", "pen", "mug")}
    assert len(model.asked) == 6  # two games of a task were played alike
    assert "was built from these trajectories before" in call(*words)[2]
    assert as_json(call, *words, "--overwrite", "--form", "both")["count"] == 6
    assert len(model.asked) == 6
    assert as_json(call, *words, "--overwrite", "--way", "rounds")["count"] == 6
    assert len(model.asked) == 6 + 3 * 6
    more = as_json(call, "add", played, "--memories", tmp_path / "own", "--writer", "student", "--model", "m")
    assert more["strengthened"] == 12
    assert len(model.asked) == 6 + 3 * 6


def test_what_a_model_has_no_script_for_is_left_out(
    call: Call, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Answers(monkeypatch).blank_for = "pen"
    counts = as_json(call, "build", played, "--writer", "student", "--out", tmp_path / "own")
    assert (counts["count"], counts["left_out"]) == (4, 4)


def of_a_remote_model(request: dict[str, Any]) -> str:
    (message,) = request["messages"]
    thing = next(thing for thing in ("box", "pen", "mug") if f"{thing} on" in message["content"])
    return f"<think>A {thing}, again.</think>Go and take the {thing} 1 first."


def test_a_remote_model_writes_within_its_budget_and_is_paid_once(
    call: Call, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITER_KEY", server.KEY)
    with server.Endpoint(server.mixed(("503",), 0.0)) as far:
        far.answer = of_a_remote_model
        words = ["build", played, "--writer", "remote", "--model", "big", "--base-url", far.url, "--out"]
        words += [tmp_path / "own", "--api-key-env", "WRITER_KEY", "--price-in", 10, "--price-out", 100]
        code, _, err = call(*words, "--max-cost", 0.007)
        assert code == 1
        assert "--max-cost is reached" in err
        assert not (tmp_path / "own").exists()
        paid = far.answered
        assert 3 <= paid <= 4
        code, _, err = call(*words, "--max-cost", 1)
        assert code == 0
        assert "cost 0.01" in err
        assert far.answered == 6  # two games of a task were played alike
        with Bank.open(tmp_path / "own") as bank:
            scripts = {f"Go and take the {thing} first." for thing in ("box", "pen", "mug")}
            assert {one.script for one in bank} == scripts
        assert as_json(call, *words, "--overwrite", "--form", "both")["count"] == 6
        more = ("add", played, "--memories", tmp_path / "own", *words[2:8], "--form", "both")
        assert as_json(call, *more)["strengthened"] == 12
        assert far.answered == 6
        far.choose = lambda number: "too long"
        before = (tmp_path / "own" / "bank.sqlite3").read_bytes()
        code, _, err = call(*words, "--overwrite", "--way", "rounds")
        assert code == 1
        assert "None of 12 trajectories made a memory" in err
        assert (tmp_path / "own" / "bank.sqlite3").read_bytes() == before
        asked = far.asked
        for refused in (
            ("build", played, *words[2:8], "--out", tmp_path / "own"),
            ("build", played, *words[2:8], "--out", played.parent),
            ("add", played, *words[2:8], "--memories", "alfworld-search"),
        ):
            assert call(*refused)[0] == 2
        assert far.asked == asked
    assert not any(server.KEY.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--writer", "remote"), "needs --base-url and --model"),
        (("--base-url", "http://localhost:1/v1"), "Only a remote model knows --base-url"),
        (("--max-cost", "1", "--price-in", "0.1"), "Only a remote model knows --price-in, --max-cost"),
        (("--writer", "remote", "--base-url", "http://x/v1", "--model", "m", "--max-cost", 1), "no price"),
        (("--writer", "remote", "--base-url", "http://x/v1", "--model", "m", "--api-key-env", "NONE"), "is not set"),
    ],
)
def test_a_remote_writer_that_is_told_too_little(
    call: Call, played: Path, tmp_path: Path, words: tuple[object, ...], says: str
) -> None:
    code, _, err = call("build", played, "--out", tmp_path / "new", *words)
    assert code == 2
    assert says in err


def test_plain_scripts_and_unknown_writers(call: Call, played: Path, tmp_path: Path) -> None:
    as_json(call, "build", played, "--writer", "plain", "--out", tmp_path / "plain")
    with Bank.open(tmp_path / "plain") as bank:
        assert any(one.script == "go to sofa; take box from sofa; go to shelf; move box to shelf." for one in bank)
    for words, says in ((("--writer", "poet"), "no writer 'poet'"), (("--way", "slowly"), "no way 'slowly'")):
        code, _, err = call("build", played, "--out", tmp_path / "new", *words)
        assert code == 2
        assert says in err


def test_a_bank_by_key_facts_is_asked_with_key_facts(
    call: Call, played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Answers(monkeypatch)
    counts = as_json(call, "build", played, "--by", "facts", "--model", "m", "--out", tmp_path / "facts")
    assert counts["count"] == 6
    with Bank.open(tmp_path / "facts") as bank:
        assert {one.key for one in bank} == {"the box", "the pen", "the mug"}
        assert bank.finder == "facts-2 student m@1"
    search = ("search", "look for the pen on a bed", "-k", 1, "--memories", tmp_path / "facts", "--model", "m")
    assert as_json(call, *search)["hits"][0]["key"] == "the pen"
    assert "look for the pen on a bed" in model.asked[-1]
    assert as_json(call, "add", played, "--memories", tmp_path / "facts", "--model", "m")["added"] == 0
    code, _, err = call(*search[:-1], "another")
    assert code == 2
    assert "were found by facts-2 student m@1" in err
    copied = ("import", tmp_path / "facts", "--out", tmp_path / "copy", "--encoder", "another")
    assert as_json(call, *copied)["memories"] == 6
    with Bank.open(tmp_path / "copy") as bank:
        assert (bank.by, bank.finder, bank.encoder_id) == ("facts", "facts-2 student m@1", "another")


def test_a_bank_that_is_not_sound_fails(call: Call, bank: Path, tmp_path: Path) -> None:
    call("export", bank, "--out", tmp_path / "sealed")
    (tmp_path / "sealed" / "memories.jsonl").write_text("{}\n")
    for words in (("verify", tmp_path / "sealed"), ("search", "x", "--memories", tmp_path / "sealed")):
        code, _, err = call(*words)
        assert code == 1
        assert "bytes where bank.json says" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("list", "nothing"), "There is no bank 'nothing'"),
        (("build", "nothing.jsonl"), "There are no trajectories at"),
        (("search", "x", "--memories", "nothing"), "There is no bank"),
        (("import", "nothing", "--out", "new"), "There is no bank"),
    ],
)
def test_a_name_of_nothing(call: Call, words: tuple[str, ...], says: str) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert says in err


def test_a_bank_of_few_successes_says_so(call: Call, tmp_path: Path, played: Path) -> None:
    arm = tmp_path / "results" / "episodes" / "base" / "0"
    arm.mkdir(parents=True)
    for number, line in enumerate(played.read_text().splitlines()[-4:]):
        (arm / f"{number}.json").write_text(line)
    code, out, err = call("build", arm.parent, "--out", tmp_path / "own")
    assert code == 0
    assert "of 3 trajectories" in out
    assert "so few successes" in err
    assert "so few successes" not in call("build", played, "--out", tmp_path / "all")[2]


def test_failures_alone_make_no_bank(call: Call, tmp_path: Path) -> None:
    append_trajectory(tmp_path / "lost.jsonl", trajectory(won=False))
    code, _, err = call("build", tmp_path / "lost.jsonl", "--out", tmp_path / "bank")
    assert code == 2
    assert "None of these 1 trajectories was won" in err
    assert not (tmp_path / "bank").exists()
