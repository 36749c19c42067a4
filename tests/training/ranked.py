"""One of several ranks on tiny models, called as a module under `mlx.launch`; what it found goes into a folder."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.optimizers import SGD
from mlx.utils import tree_flatten, tree_unflatten

from duomem_mlx.student.heads import logits_at
from duomem_mlx.training import loop
from duomem_mlx.training.budget import Means
from duomem_mlx.training.lanes import Lanes
from duomem_mlx.training.loop import plan_steps
from duomem_mlx.training.lora import trainable
from duomem_mlx.training.ranks import RankLost, heed_launcher, here
from tests.training import runs

PLAIN = replace(runs.SETTINGS, dropout=0.0, iters=20)
SHORT = replace(PLAIN, iters=8)


def sums(folder: Path) -> None:
    """The gradient of one unevenly divided batch, and the weights after twenty steps of SGD."""
    student, prepared, _ = runs.ready(PLAIN)
    lanes = Lanes(student.model, logits_at(student.model)[0], 1)
    optimizer = SGD(0.05)
    mx.random.seed(1)
    drawn = {  # B is zero at first, and so would be all gradients of A
        name: mx.random.normal(array.shape) * 0.1 if name.endswith("lora_b") else array
        for name, array in trainable(student.model).items()
    }
    weights: Any = tree_unflatten(list(drawn.items()))
    first: dict[str, mx.array] = {}
    for rows in plan_steps(prepared.epochs * 5, PLAIN):
        _, gradients = loop._gradient(lanes, weights, Means().batches(rows), 0, PLAIN)
        first = first or gradients
        weights = optimizer.apply_gradients(tree_unflatten(list(gradients.items())), weights)
        mx.eval(weights)
    held_out = loop.evaluate(lanes, dict(tree_flatten(weights)), Means().batches(prepared.held_out))
    rank, count = here().number, here().count
    mx.save_safetensors(str(folder / f"gradients-{rank}-of-{count}.safetensors"), first)
    mx.save_safetensors(str(folder / f"weights-{rank}-of-{count}.safetensors"), dict(tree_flatten(weights)))
    (folder / f"loss-{rank}-of-{count}.json").write_text(json.dumps(held_out))


def train(folder: Path) -> None:
    runs.run(folder, SHORT)


def lose(folder: Path) -> None:
    """Rank 1 is killed after its third step."""

    def die(now: Any) -> None:
        if here().number == 1 and now.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    heed_launcher()
    try:
        runs.run(folder, SHORT, die)
    except (RankLost, KeyboardInterrupt) as error:  # whichever the launcher lets come first
        (folder / "told").write_text(repr(error))


def differ(folder: Path) -> None:
    """The ranks were called with other settings."""
    runs.run(folder, replace(SHORT, learning_rate=0.01 * (1 + here().number)))


if __name__ == "__main__":
    {"sums": sums, "train": train, "lose": lose, "differ": differ}[sys.argv[1]](Path(sys.argv[2]))
