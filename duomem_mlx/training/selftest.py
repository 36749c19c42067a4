"""Whether this machine trains: twenty steps on one short row."""

import tempfile
from pathlib import Path

import numpy as np

from duomem_mlx.student.models import Student
from duomem_mlx.training import loop
from duomem_mlx.training.fit import add_adapter_layers
from duomem_mlx.training.rows import Epoch, Row
from duomem_mlx.training.settings import TrainSettings

STEPS = 20
TOKENS = 16
SETTINGS = TrainSettings(rank=4, batch_size=1, iters=STEPS, held_out=0.0, save_every=10 * STEPS)


def twenty_steps(student: Student) -> list[float]:
    """The loss before each of `STEPS` steps on a row that no student knows; the student's model is changed. Raises
    DuomemError where a number is not finite."""
    drawn = np.random.default_rng(0).integers(20, 250, TOKENS).astype(np.int32)
    row = Row("selftest", drawn, np.arange(TOKENS) > 0)
    losses: list[float] = []
    add_adapter_layers(student, SETTINGS)
    with tempfile.TemporaryDirectory() as folder:
        epochs = [Epoch((row,))] * STEPS
        loop.train(student.model, epochs, [], SETTINGS, Path(folder), {}, lambda now: losses.append(now.loss))
    return losses
