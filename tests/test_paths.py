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


def test_the_same_run_resumes_and_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = paths.claim_run(None, "teach", {"games": "train", "path": (1, 2)})
    assert folder.parent == Path("runs")
    (folder / "made.txt").touch()
    assert paths.claim_run(None, "teach", {"games": "train", "path": (1, 2)}) == folder
    with pytest.raises(UsageError, match=r"another run .other games"):
        paths.claim_run(folder, "teach", {"games": "valid_seen", "path": (1, 2)})
    assert (folder / "made.txt").exists()
    paths.claim_run(folder, "teach", {"games": "valid_seen"}, overwrite=True)
    assert not (folder / "made.txt").exists()


def test_a_folder_of_something_else_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").touch()
    with pytest.raises(UsageError, match="no run's folder"):
        paths.claim_run(tmp_path, "teach", {})
    assert (tmp_path / "precious.txt").exists()


@pytest.mark.parametrize("name", ["", "..", "../adapters", "a/b", "/etc"])
def test_a_shipped_name_cannot_leave_its_room(name: str) -> None:
    assert paths.shipped("adapters", name) is None


def test_overwrite_starts_the_same_run_anew_but_never_clears_what_is_no_run(tmp_path: Path) -> None:
    run = paths.claim_run(tmp_path / "run", "teach", {"games": "train"})
    (run / "made.txt").touch()
    paths.claim_run(run, "teach", {"games": "train"}, overwrite=True)
    assert not (run / "made.txt").exists()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    for folder in ("home", "model"):
        with pytest.raises(UsageError, match="no run's folder"):
            paths.claim_run(tmp_path / folder, "teach", {"games": "train"}, overwrite=True)
        assert list((tmp_path / folder).iterdir())


@pytest.mark.parametrize("text", ["[]", "{}", "7", '{"format": 1, "run": []}'])
def test_settings_that_are_none_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(UsageError, match="no run's folder"):
        paths.claim_run(tmp_path / "run", "teach", {"games": "train"})
