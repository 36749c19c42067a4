import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def make_results() -> Any:
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "scripts" / "make_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_the_kept_summarys(make_results: Any) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    summary = json.loads(make_results.KEPT.read_text(encoding="utf-8"))
    assert make_results.with_block(readme, summary) == readme


def test_the_kept_summarys_rates_follow_from_its_counts(make_results: Any) -> None:
    from duomem_mlx.evaluation.statistics import wilson

    for figures in json.loads(make_results.KEPT.read_text(encoding="utf-8"))["arms"].values():
        assert figures["success"] == figures["won"] / figures["games"]
        assert figures["wilson95"] == [round(bound, 4) for bound in wilson(figures["won"], figures["games"])]
        assert sum(games for _, games in figures["by_type"].values()) == figures["games"]


def test_every_command_of_the_readme_exists_with_its_options() -> None:
    import re

    known = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for line in re.findall(r"^duomem-mlx (.+?)(?:\s+#.*)?$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M):
        words = line.split()
        assert f"duomem-mlx {words[0]}" in known
        for option in (word for word in words if word.startswith("--")):
            assert option in known, line
