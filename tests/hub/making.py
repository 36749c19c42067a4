"""A base, an adapter, a bank and results, all of them tiny, and calls of the command line on them."""

import json
import shutil
from pathlib import Path

from duomem_mlx.memory.bank import Bank
from duomem_mlx.student import adapters
from tests.memory.hashing import HashingEncoder, memory
from tests.student.test_models import save_adapter, save_base

BASE = "acme/tiny"  # what the tiny base is called on the Hub
TASKS = ("put some box on dresser", "cool some egg and put it on table", "look at cd under the desklamp")
SMALL = Path(__file__).parent / "summary.json"


def make_parts(folder: Path) -> Path:
    """`base`, `adapter`, `bank` (live) and `results` in a folder, all of one another."""
    base = save_base(folder / "base")
    adapter = save_adapter(folder / "adapter", str(base))
    record = json.loads((adapter / "duomem.json").read_text())
    data = {"trajectories": 1234, "held_out": 5, "teachers": ["search"]}
    made = {"prompt_style": "compact-1", "data": data, "settings": {"seed": 3}}
    (adapter / "duomem.json").write_text(json.dumps({**record, **made}))
    with Bank.create(folder / "bank", HashingEncoder()) as bank:
        bank.add([memory(task, f"Do it: {task}.") for task in TASKS])
        make_results(folder / "results", adapter, bank)
    return folder


def as_mlx_lm_saves(adapter: Path, folder: Path) -> Path:
    """The adapter as `mlx_lm.lora` leaves one: all that its call was told stands in the configuration, and no more."""
    folder.mkdir()
    shutil.copy(adapter / adapters.WEIGHTS, folder)
    config = json.loads((adapter / adapters.CONFIG).read_text())
    told = {"model": "/home/me/models/tiny", "data": "/home/me/chats", "adapter_path": str(folder), "iters": 100}
    (folder / adapters.CONFIG).write_text(json.dumps({**told, **config}))
    return folder


def into_the_hub_s_cache(base: Path, cache: Path) -> Path:
    """What the Hub's client keeps of BASE once it was fetched."""
    repo = cache / f"models--{BASE.replace('/', '--')}"
    commit = "0" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    return Path(shutil.copytree(base, repo / "snapshots" / commit))


def make_results(folder: Path, adapter: Path, bank: Bank | None) -> Path:
    """The summary of a real evaluation, as if it were of this adapter and this bank."""
    summary = json.loads(SMALL.read_text())
    summary |= {"model": "tiny", "model_hash": "0" * 64, "adapter_hash": adapters.identity(adapter)}
    summary |= {"memories_hash": bank.identity if bank else None}
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))
    run = {"command": "evaluate", "env": "household"}
    (folder / "config.json").write_text(json.dumps({"format": 1, "run": run}))
    return folder


def publishing(parts: Path, to: str, *more: object) -> list[str]:
    """The words of a call that publishes all of it."""
    words = ["publish", parts / "adapter", "--memories", parts / "bank", "--results", parts / "results", "--to", to]
    return [str(word) for word in (*words, "--base", BASE, "--license", "mit", *more)]
