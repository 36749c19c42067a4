import builtins
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from duomem_mlx.cli.main import app, status
from duomem_mlx.household.causes import NOT_FOUND

from ..report.folders import results, two_games


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return results(tmp_path / "my results", two_games(("base", "duomem")))


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = status(lambda: app(["report", *map(str, words)], prog_name="duomem-mlx"))
    return code, *capsys.readouterr()


def test_both_files_beside_the_results_and_how_to_open_them(folder, capsys):
    code, out, err = run(capsys, folder)
    assert code == 0
    assert [line.rpartition("  ")[0] for line in out.splitlines()] == [
        str(folder / "report.html"),
        str(folder / "report.md"),
    ]
    assert "4 episodes of 2 games" in err
    opened = shlex.split(err.strip().splitlines()[-1])
    assert opened[0] == "Next:"
    assert opened[1] in ("open", "xdg-open")
    assert opened[2:] == [str(folder / "report.html")]
    assert NOT_FOUND in (folder / "report.md").read_text()  # the household's own word


def test_json_tells_paths_and_bytes(folder, tmp_path, capsys):
    code, out, _ = run(capsys, folder, "--out", tmp_path / "there", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["html"] == {
        "path": str(tmp_path / "there" / "report.html"),
        "bytes": (tmp_path / "there" / "report.html").stat().st_size,
    }
    assert told["markdown"]["path"].endswith("report.md")
    assert (told["games"], told["episodes"], told["unfinished"]) == (2, 4, {})
    assert not (folder / "report.html").exists()


def test_a_world_that_is_code_is_asked_only_where_the_call_names_it(tmp_path, capsys):
    folder = results(tmp_path / "r", two_games(), env="somebodys.module:factory")
    code, _, err = run(capsys, folder)
    assert code == 0
    assert "--env somebodys.module:factory would ask it" in err
    assert "never found" not in (folder / "report.md").read_text()
    assert "out of steps" in (folder / "report.md").read_text() or "loop" in (folder / "report.md").read_text()
    code, _, err = run(capsys, folder, "--env", "somebodys.module:factory")
    assert code == 2


def test_an_unfinished_evaluation_says_so(tmp_path, capsys):
    code, _, err = run(capsys, results(tmp_path / "r", two_games()[:3], finished=False))
    assert code == 0
    assert "Not finished: 1 games of adapter are left" in err


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_without_the_extra_one_sentence_says_which(folder, capsys, monkeypatch, missing):
    load = builtins.__import__

    def lacking(name: str, *more: Any) -> Any:
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return load(name, *more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    code, out, err = run(capsys, folder)
    assert (code, out) == (1, "")
    assert err == (
        f"duomem-mlx: A report needs {missing}, which is not installed. Run `pip install 'duomem-mlx[report]'`.\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "There are no results at nowhere. Make some with `duomem-mlx evaluate`."),
        (["my results", "elsewhere"], "There are no results at elsewhere. Make some with `duomem-mlx evaluate`."),
        (["my results", "--memories", "nowhere"], "There is no bank 'nowhere'."),
        (["my results", "--adapter", "nowhere"], "There is no adapter 'nowhere'."),
        (["my results", "--adapter", "smollm2-135m-alfworld"], "is not the adapter that was evaluated"),
    ],
)
def test_what_is_off_is_told_in_one_sentence(folder, capsys, words, told):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1
