"""Short training runs on a tiny model; called as a module, one that kills itself."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from duomem_mlx import prompt
from duomem_mlx.student.models import Student
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.training.fit import Prepared, add_adapter_layers, fit, prepare
from duomem_mlx.training.settings import TrainSettings
from tests.student import tiny
from tests.training import made

SETTINGS = TrainSettings(
    rank=4, dropout=0.1, batch_size=3, iters=8, learning_rate=0.01, save_every=2, eval_every=3, held_out=0.2, k=0
)


def ready(
    settings: TrainSettings, count: int = 12, family: str = "llama tied", bits: int | None = None
) -> tuple[Student, Prepared, dict[str, Any]]:
    tokenizer = tiny.tokenizer()
    model = made.quantized(made.model(family), bits)
    student = Student(
        model, tokenizer, "tiny", Path(), "an identity", "float32", {**made.COMMON, **made.FAMILIES[family]}
    )
    write = make_writer(tokenizer, prompt.COMPACT, "")
    many = [made.trajectory(i, turns=1 + i % 4) for i in range(count)]
    prepared = prepare(many, write, settings, group=lambda trajectory: trajectory.game.split("/")[0])
    return student, prepared, add_adapter_layers(student, settings)


def run(
    folder: Path,
    settings: TrainSettings,
    report: Any = lambda now: None,
    count: int = 12,
    family: str = "llama tied",
    bits: int | None = None,
) -> Student:
    student, prepared, config = ready(settings, count, family, bits)
    fit(student, config, prepared, settings, folder, report)
    return student


def killed(folder: Path, at: int, writing: str) -> None:
    """Die after step `at`; or, where `writing` names a file, when that file is written from that step on but not yet
    in its place."""
    replace = Path.replace
    reached = 0

    def replace_or_die(self: Path, target: Path) -> Path:
        if target.name == writing and reached >= at:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    def after(now: Any) -> None:
        nonlocal reached
        reached = now.step
        if now.step == at and not writing:
            os.kill(os.getpid(), signal.SIGKILL)

    Path.replace = replace_or_die  # type: ignore[method-assign,assignment]
    run(folder, SETTINGS, after)


if __name__ == "__main__":
    killed(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
