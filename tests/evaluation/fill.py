"""A process that fills a results folder: python -m tests.evaluation.fill FOLDER. Every game begun is told on stdout."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from duomem_mlx import prompt
from duomem_mlx.evaluation.arms import arm_named
from duomem_mlx.evaluation.runner import Run, evaluate
from duomem_mlx.student.episodes import PlaySettings
from duomem_mlx.student.transcript import make_writer
from tests.student import tiny

GAMES = [f"train/{place}{n}" for place in "abcdef" for n in (2, 3, 4)]
SECONDS = 0.02  # a step


class SlowEcho(tiny.Echo):
    def step(self, action: str) -> str:
        time.sleep(SECONDS)
        return super().step(action)


class World:
    name = "echo"
    instructions = "Say something."

    def tasks(self, split: str) -> list[str]:
        return GAMES

    def open(self, task_id: str) -> SlowEcho:
        print(f"begins {task_id}", flush=True)
        return SlowEcho(task_id, int(task_id[-1]))


def fill(folder: Path) -> dict[str, Any]:
    tokenizer = tiny.tokenizer()
    writer = make_writer(tokenizer, prompt.COMPACT, "Say.")

    def agent_for(adapter: int | None) -> Any:
        seed = 0 if adapter is None else 1 + adapter
        return SimpleNamespace(student=tiny.TinyStudent(tiny.model(seed=seed), tokenizer), writer=writer)

    settings = PlaySettings(max_steps=5, max_tokens=6, width=2)
    run = Run(folder, World(), GAMES, "train", None, (0,), 0, settings)  # type: ignore[arg-type]
    return evaluate(run, [arm_named("base"), arm_named("adapter")], agent_for)


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
