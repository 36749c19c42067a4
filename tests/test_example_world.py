"""The example of docs/environments.md, as it stands there: a whole loop on it, with no household in the house."""

import json
import os
import subprocess
import sys
from pathlib import Path

from duomem_mlx.evaluation.statistics import mcnemar
from tests.training import made

ROOT = Path(__file__).parents[1]
ENV = ("--env", "my_world:TaughtChests")
WITHOUT_HOUSEHOLD = """
import importlib, os, pkgutil, sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name == "duomem_mlx.household" or name.startswith("duomem_mlx.household."):
            raise ImportError("there is no household")

sys.meta_path.insert(0, Gone())
import duomem_mlx
rooms = [room.name for room in pkgutil.walk_packages(duomem_mlx.__path__, "duomem_mlx.", onerror=lambda name: None)]
for room in rooms:
    if "household" not in room and not room.endswith("__main__"):
        importlib.import_module(room)
assert len(rooms) > 100

from duomem_mlx.cli import main
for words in eval(sys.argv[1]):
    sys.argv = ["duomem-mlx", *words]
    if status := main.status(main.app):
        os._exit(status)
os._exit(0)
"""


def blocks() -> list[str]:
    text = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    return [part.partition("```")[0] for part in text.split("```python\n")[1:]]


def test_the_example_is_what_envs_new_writes_and_at_most_forty_lines() -> None:
    world, teacher = blocks()
    assert len(world.splitlines()) <= 40
    assert f"{world}\n\n{teacher}" == (ROOT / "duomem_mlx" / "example_world.py").read_text(encoding="utf-8")


def test_a_whole_loop_on_the_example_without_the_household(tmp_path: Path) -> None:
    (tmp_path / "my_world.py").write_text("\n\n".join(blocks()), encoding="utf-8")
    student = ("--model", str(made.save_base(tmp_path / "tiny")), "--prompt-style", "compact-1")
    calls = [
        ["envs", "check", ENV[1]],
        ["teach", *ENV, "--out", "taught"],
        ["memories", "build", "taught", *ENV, "--out", "bank"],
        [
            *("train", "taught", *ENV, *student, "--memories", "bank", "--k", "1", "--rank", "16", "--out", "adapter"),
            *("--iters", "80", "--learning-rate", "0.01", "--held-out", "0", "--patience", "0"),
        ],
        [
            *("evaluate", *ENV, *student, "--adapter", "adapter", "--memories", "bank", "--k", "1"),
            *("--max-steps", "4", "--out", "results"),
        ],
        ["report", "results", *ENV],
        ["run", *ENV, *student, "--adapter", "adapter", "--memories", "bank"],
        ["fuse", *ENV, *student[:2], "--adapter", "adapter", "--out", "fused", "--bits", "none", "--check", "1"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HOUSEHOLD, repr(calls)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    arms = summary["arms"]
    assert summary["split"] == "test"
    assert arms["teacher"]["won"] == 40
    against = arms["adapter"]["against_base"]
    assert against["better"]
    assert mcnemar(against["base_only"], against["arm_only"]) < 0.001
    assert arms["duomem"]["won"] > arms["base"]["won"]
