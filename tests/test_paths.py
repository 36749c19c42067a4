import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest

from duomem_mlx import paths
from duomem_mlx.errors import DuomemError, UsageError


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    paths.write_json(file, {"old": True})

    def fail() -> None:
        with paths.replacing(file) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert paths.read_json(file, "file") == {"old": True}
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    paths.write_json(file, 1)
    with pytest.raises(DuomemError, match=r"No space left.*Free some space"), paths.replacing(file):
        raise OSError(28, "No space left on device")
    assert paths.read_json(file, "file") == 1


def test_a_file_where_a_folder_should_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(DuomemError, match="cannot be written"):
        paths.write_text(tmp_path / "f" / "a.json", "x")


@pytest.mark.parametrize(
    ("text", "word"), [("", "is empty"), ("{", "not whole JSON"), ("[" * 100_000, "not whole JSON")]
)
def test_bad_json_is_told(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DuomemError, match=word):
        paths.read_json(tmp_path / "a.json", "settings")


def test_missing_json_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no settings at"):
        paths.read_json(tmp_path / "a.json", "settings")


MADE = ("made.txt", "made")


def test_the_same_run_resumes_and_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = paths.claim_run(None, "teach", {"games": "train", "path": (1, 2)}, MADE)
    assert folder.parent == Path("runs")
    (folder / "made.txt").touch()
    assert paths.claim_run(None, "teach", {"games": "train", "path": (1, 2)}, MADE) == folder
    with pytest.raises(UsageError, match=r"another run .other games"):
        paths.claim_run(folder, "teach", {"games": "valid_seen", "path": (1, 2)}, MADE)
    assert (folder / "made.txt").exists()
    paths.claim_run(folder, "teach", {"games": "valid_seen"}, MADE, overwrite=True)
    assert not (folder / "made.txt").exists()


def test_a_run_is_claimed_when_it_says_so_and_not_before(tmp_path: Path) -> None:
    folder = paths.run_folder(tmp_path / "run", "train", {"rank": 8}, MADE)
    assert not folder.path.exists()
    folder.claim()
    (folder.path / "made.txt").touch()
    paths.run_folder(tmp_path / "run", "train", {"rank": 16}, MADE, overwrite=True)
    assert (folder.path / "made.txt").exists()


def test_a_run_begun_by_another_process_since_it_was_looked_at_keeps_what_is_there(tmp_path: Path) -> None:
    one, other = (paths.run_folder(tmp_path / "run", "train", {"rank": 8}, MADE) for _ in range(2))
    one.claim()
    (tmp_path / "run" / "made.txt").touch()
    other.claim()
    assert (tmp_path / "run" / "made.txt").exists()
    paths.run_folder(tmp_path / "run", "train", {"rank": 8}, MADE, overwrite=True).claim()
    assert not (tmp_path / "run" / "made.txt").exists()


def test_a_folder_that_a_process_is_alone_in_is_not_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "CLAIM_SECONDS", 0.1)
    folder = paths.run_folder(tmp_path / "run", "train", {}, MADE)
    with paths.alone_in(tmp_path / "run"):
        with pytest.raises(DuomemError, match="Another process writes into"):
            folder.claim()
        assert not list((tmp_path / "run").iterdir())
    folder.claim()


def test_another_command_s_folder_is_never_overwritten(tmp_path: Path) -> None:
    folder = paths.claim_run(tmp_path / "run", "teach", {}, MADE)
    (folder / "made.txt").touch()
    with pytest.raises(UsageError, match="holds what `duomem-mlx teach` made"):
        paths.claim_run(folder, "train", {}, MADE, overwrite=True)
    assert (folder / "made.txt").exists()


def test_what_a_kill_tore_is_swept_up(tmp_path: Path) -> None:
    folder = paths.claim_run(tmp_path / "run", "train", {}, MADE)
    (folder / ".made.txt.x7_9abcd.txt").touch()
    (folder / "made.txt").touch()
    for swap in (".made.txt.swp", ".config.json.swp", ".made.txt.notes.txt"):  # an editor's, a person's
        (folder / swap).touch()
    paths.claim_run(folder, "train", {}, MADE)
    left = [".config.json.swp", ".made.txt.notes.txt", ".made.txt.swp", "config.json", "made.txt"]
    assert sorted(path.name for path in folder.iterdir()) == left


def test_what_is_swept_up_is_what_a_writer_really_leaves(tmp_path: Path) -> None:
    folder = paths.claim_run(tmp_path / "run", "train", {}, MADE)
    writing = paths.replacing(folder / "made.txt")
    left = writing.__enter__()  # and killed there
    assert left.exists()
    paths.claim_run(folder, "train", {}, MADE)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_a_run_that_was_killed_while_it_claimed_its_folder_goes_on(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.x7_9abcd.json").write_text("{")
    paths.claim_run(tmp_path / "run", "train", {}, MADE)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_a_folder_of_something_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").touch()
    with pytest.raises(UsageError, match="no run's folder"):
        paths.claim_run(tmp_path, "teach", {}, MADE)
    assert (tmp_path / "precious.txt").exists()


@pytest.mark.parametrize("name", ["", "..", "../adapters", "a/b", "/etc"])
def test_a_shipped_name_cannot_leave_its_room(name: str) -> None:
    assert paths.shipped("adapters", name) is None


def test_overwrite_starts_the_same_run_anew_but_takes_away_only_what_the_command_made(tmp_path: Path) -> None:
    run = paths.claim_run(tmp_path / "run", "teach", {"games": "train"}, MADE)
    (run / "made.txt").touch()
    (run / "made").mkdir()
    (run / "made" / "episode").touch()
    (run / "input.jsonl").touch()
    paths.claim_run(run, "teach", {"games": "train"}, MADE, overwrite=True)
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "input.jsonl"]
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    for folder in ("home", "model"):
        with pytest.raises(UsageError, match="no run's folder"):
            paths.claim_run(tmp_path / folder, "teach", {"games": "train"}, MADE, overwrite=True)
        assert list((tmp_path / folder).iterdir())


@pytest.mark.parametrize("text", ["[]", "{}", "7", '{"format": 1, "run": []}', "learning_rate: 0.1", ""])
@pytest.mark.parametrize("overwrite", [False, True])
def test_settings_that_are_none_are_somebody_elses(tmp_path: Path, text: str, overwrite: bool) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(text)
    (tmp_path / "run" / "made.txt").touch()
    with pytest.raises(UsageError, match="no run's folder"):
        paths.claim_run(tmp_path / "run", "teach", {"games": "train"}, MADE, overwrite)
    assert (tmp_path / "run" / "made.txt").exists()


ONE = {"said": "été", "steps": [1, 2]}


def lines(file: Path) -> list[object]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_lines_are_added_together_and_none_make_no_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.jsonl"
    paths.append_json(file, [])
    assert not file.exists()
    paths.append_json(file, [ONE, 2])
    paths.append_json(file, iter([3]))
    assert lines(file) == [ONE, 2, 3]


def _append_for_ever(file: Path) -> None:
    while True:
        paths.append_json(file, [ONE, ONE])


def test_a_killed_writer_leaves_whole_lines_and_at_most_one_torn(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    for _ in range(5):
        writer = multiprocessing.get_context("spawn").Process(target=_append_for_ever, args=(file,))
        writer.start()
        size = file.stat().st_size if file.exists() else 0
        while not file.exists() or file.stat().st_size <= size:
            pass
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        paths.mend_tail(file)
        assert all(found == ONE for found in lines(file))


def test_a_torn_tail_is_cut_once(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    paths.append_json(file, [ONE])
    with file.open("ab") as out:
        out.write(b'{"torn')
    assert paths.mend_tail(file)
    assert not paths.mend_tail(file)
    assert lines(file) == [ONE]
    assert not paths.mend_tail(tmp_path / "none.jsonl")


def _append_past_the_limit(file: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 20, resource.RLIM_INFINITY))
    with pytest.raises(DuomemError, match="cannot be written"):
        paths.append_json(file, [1, ONE])


def test_a_full_disk_leaves_the_earlier_lines(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    paths.append_json(file, [ONE])
    writer = multiprocessing.get_context("spawn").Process(target=_append_past_the_limit, args=(file,))
    writer.start()
    writer.join()
    assert writer.exitcode == 0
    assert lines(file) == [ONE]


def test_a_disk_that_fails_to_sync_leaves_the_earlier_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "t.jsonl"
    paths.append_json(file, [ONE])

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DuomemError, match=r"No space left.*Free some space"):
        paths.append_json(file, [ONE])
    assert lines(file) == [ONE]


def test_a_folder_without_rights_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(DuomemError, match="cannot be written"):
        paths.append_json(tmp_path / "f" / "a.jsonl", [1])
