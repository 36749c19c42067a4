"""The house rules that a reader would otherwise have to check by eye: who imports whom, and what a file may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "duomem_mlx"
MOST_LINES = 500

# Lowest first. Rooms of one floor do not know each other.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "blas"),
    ("paths",),
    ("trajectory",),
    ("environment",),
    ("offers",),
    ("defaults", "guarded", "own_teacher", "example_world", "text_gym", "prompt", "models_on_disk", "tools"),
    ("teachers", "memory", "household", "scienceworld"),
    ("student",),
    ("evaluation", "training"),
    ("doctor", "demo", "hub", "report"),
    ("cli",),
    ("__init__", "__main__"),
)
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

# A package from outside, and the only places that may import it.
KEPT_TO = {
    "mlx": ("student/", "training/", "memory/encoder.py"),
    "mlx_lm": ("student/", "training/", "memory/encoder.py"),
    "textworld": ("household/textworld_engine.py",),
    "alfworld": ("household/textworld_engine.py",),
    "py4j": ("scienceworld/simulator.py",),
    "scienceworld": ("scienceworld/simulator.py",),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "openai": ("teachers/remote.py",),
    "starlette": ("student/serve/",),
    "uvicorn": ("student/serve/running.py",),
    "httpx2": ("student/serve/upstream.py",),
    "jsonschema": ("tools/offered.py",),
    "pydantic": ("student/serve/shapes.py",),
    "matplotlib": ("report/",),
    "jinja2": ("report/",),
}
NO_NAMES = ("utils", "helpers", "base")


def faults(package: Path) -> list[str]:
    """Everything below `package` that breaks a rule, one line each."""
    return [fault for path in sorted(package.rglob("*.py")) for fault in file_faults(package, path)]


def file_faults(package: Path, path: Path) -> Iterator[str]:
    place = path.relative_to(package)
    file = place.as_posix()
    room = place.parts[0].removesuffix(".py")
    text = path.read_text(encoding="utf-8")
    if (lines := text.count("\n")) > MOST_LINES:
        yield f"{file} has {lines} lines, more than {MOST_LINES}"
    if any(part.removesuffix(".py").strip("_") in NO_NAMES for part in place.parts):
        yield f"{file} has a name that says nothing"
    if room not in FLOOR:
        yield f"{file} stands on no floor"
        return
    for name in imported(ast.parse(text), [package.name, *place.parent.parts]):
        top, *rest = name.split(".")
        if top == package.name and rest != ["__version__"]:
            other = rest[0] if rest and rest[0] in FLOOR else "__init__"
            if other != room and FLOOR[other] >= FLOOR[room]:
                yield f"{file} imports {other}, which is not below it"
        elif top in KEPT_TO and not file.startswith(KEPT_TO[top]):
            yield f"{file} imports {top}"


def imported(node: ast.AST, package: list[str]) -> Iterator[str]:
    """Dotted names that a module imports, also inside functions and by `import_module("…")`, but for what stands
    under `if TYPE_CHECKING`."""
    parts = ast.iter_child_nodes(node)
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*start, *([node.module] if node.module else [])])
        yield from (f"{module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))
    elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        parts = iter(node.orelse)
    for part in parts:
        yield from imported(part, package)


def test_the_house_stands() -> None:
    assert faults(PACKAGE) == []


def test_every_room_of_the_house_is_looked_at() -> None:
    assert len(list(PACKAGE.rglob("*.py"))) > 20


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("paths.py", "from duomem_mlx import trajectory", "imports trajectory"),
        ("trajectory.py", "import duomem_mlx.environment", "imports environment"),
        ("household/rules.py", "from ..memory import bank", "imports memory"),
        ("household/teacher/search.py", "from ...student.agent import Agent", "imports student"),
        ("demo.py", "def f():\n    from duomem_mlx.doctor.machine import examine", "imports doctor"),
        ("student/agent.py", "from duomem_mlx.cli.output import say", "imports cli"),
        ("evaluation/runner.py", "from duomem_mlx import load_agent", "imports __init__"),
        ("demo.py", "import mlx.core as mx", "imports mlx"),
        ("memory/bank.py", "def f():\n    if True:\n        import mlx.core", "imports mlx"),
        ("memory/bank.py", "import importlib\nimportlib.import_module('mlx.core')", "imports mlx"),
        ("household/engine.py", "from textworld.envs import PddlEnv", "imports textworld"),
        ("doctor/machine.py", "import rich", "imports rich"),
        ("teachers/scripted.py", "from openai import OpenAI", "imports openai"),
        ("evaluation/results.py", "import matplotlib.pyplot", "imports matplotlib"),
        ("student/agent.py", "if not TYPE_CHECKING:\n    import typer", "imports typer"),
        ("student/agent.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import typer", "imports typer"),
        ("attic/chest.py", "", "stands on no floor"),
        ("student/utils.py", "", "says nothing"),
        ("utils/__init__.py", "", "says nothing"),
        ("student/agent.py", "x = 1\n" * (MOST_LINES + 1), "lines"),
    ],
)
def test_a_broken_rule_is_seen(tmp_path: Path, file: str, text: str, fault: str) -> None:
    write(tmp_path / "duomem_mlx" / file, text)
    assert any(fault in found for found in faults(tmp_path / "duomem_mlx"))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("household/rules.py", "from . import wording\nfrom ..errors import DuomemError"),
        ("memory/encoder.py", "import mlx.core as mx"),
        ("training/loop.py", "from mlx_lm.tuner import trainer\nfrom duomem_mlx.student import models"),
        ("memory/bank.py", "if TYPE_CHECKING:\n    from duomem_mlx.student.agent import Agent\n    import mlx.core"),
        ("memory/bank.py", "import numpy as np\nimport mlxtend"),
        ("teachers/remote.py", "def ask():\n    from openai import OpenAI"),
        ("demo.py", "from duomem_mlx import trajectory\nfrom duomem_mlx.training import loop"),
        ("__init__.py", "from duomem_mlx.evaluation import runner"),
        ("cli/main.py", "import typer\nfrom duomem_mlx.cli.output import say\nfrom duomem_mlx import __version__"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path / "duomem_mlx" / file, text)
    assert faults(tmp_path / "duomem_mlx") == []


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
