"""Whether what is installed computes what it should, in half a minute."""

from collections.abc import Callable, Sequence
from pathlib import Path

from duomem_mlx.doctor.checks import ABSENT, FAIL, OK, Check, safely
from duomem_mlx.environment import Environment, parallel_safe

MOST_APART = 0.01  # of the spread of the logits; float32 leaves about a millionth
REPORT = "Report this with what `duomem-mlx doctor --json` prints."

Report = Callable[[int, str], None]


def examine_itself(
    model: str | None, adapter: Path | None, environment: Environment, tasks: Sequence[str], report: Report
) -> list[Check]:
    """The student's logits by GPU and CPU, its answers in games together and alone, and twenty steps of training.
    Everything is compared in float32; training is in the type this machine trains in. Raises nothing."""
    checks: list[Check] = []
    for number, (name, look) in enumerate(
        (
            ("gpu", lambda: _gpu(model)),
            ("games together", lambda: _together(model, adapter, environment, tasks)),
            ("training", lambda: _training(model)),
        )
    ):
        report(number, name)
        checks += safely(name, look)
    report(3, "")
    return checks


def _gpu(model: str | None) -> Check:
    from duomem_mlx.student.models import load_student
    from duomem_mlx.student.selftest import gpu_beside_cpu

    found = gpu_beside_cpu(load_student(model, dtype="float32").model)
    if found is None:
        return Check("gpu", ABSENT, "MLX has no GPU here; the CPU computes, and there is nothing to compare it with")
    told = f"logits of GPU and CPU are {found.apart:.1e} of their spread apart; {found.agreed:.0%} of the tokens agree"
    good = found.apart <= MOST_APART
    return Check("gpu", OK if good else FAIL, told, "" if good else REPORT)


def _together(model: str | None, adapter: Path | None, environment: Environment, tasks: Sequence[str]) -> Check:
    from duomem_mlx.student.agent import writer_for
    from duomem_mlx.student.models import load_student
    from duomem_mlx.student.selftest import together_beside_alone

    if not parallel_safe(environment):
        return Check("games together", ABSENT, f"{environment.name} is played one game at a time")
    student = load_student(model, adapter, dtype="float32")
    same, answers = together_beside_alone(student, writer_for(student, environment), environment, tasks)
    told = f"{same} of {answers} answers are the same in {len(tasks)} games played together and one by one"
    return Check("games together", OK if same == answers else FAIL, told, "" if same == answers else REPORT)


def _training(model: str | None) -> Check:
    from duomem_mlx.student.models import load_student
    from duomem_mlx.training.selftest import twenty_steps

    student = load_student(model)
    losses = twenty_steps(student)
    told = f"{len(losses)} steps in {student.dtype}, loss {losses[0]:.2f} to {losses[-1]:.2f}"
    falls = losses[-1] < losses[0]
    return Check("training", OK if falls else FAIL, told, "" if falls else REPORT)
