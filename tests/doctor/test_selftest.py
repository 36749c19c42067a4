"""The self-test passes where all is well, and fails where it is not."""

from pathlib import Path

import mlx.core as mx
import pytest

from duomem_mlx.doctor import selftest
from duomem_mlx.doctor.checks import ABSENT, FAIL, OK, Check
from duomem_mlx.environment import find_environment
from duomem_mlx.student import answering
from duomem_mlx.student import selftest as student_selftest
from duomem_mlx.student.models import load_student
from duomem_mlx.training import selftest as training_selftest

from ..student.test_models import save_base

TASKS = [f"generated:{seed}" for seed in range(3)]


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(save_base(tmp_path / "base"))


def self_tested(base: str) -> dict[str, Check]:
    seen: list[int] = []
    checks = selftest.examine_itself(base, None, find_environment("household"), TASKS, lambda n, _: seen.append(n))
    assert seen == [0, 1, 2, 3]
    return {check.name: check for check in checks}


def test_a_sound_machine_passes(base: str) -> None:
    checks = self_tested(base)
    on_gpu = mx.default_device().type != mx.cpu
    assert checks["gpu"].status == (OK if on_gpu else ABSENT)
    assert (checks["games together"].status, "6 of 6 answers" in checks["games together"].found) == (OK, True)
    assert (checks["training"].status, checks["training"].found.startswith("20 steps")) == (OK, True)


def test_a_world_that_is_played_one_game_at_a_time_is_not_played_otherwise(base: str) -> None:
    world = find_environment("household")
    world.parallel_safe = False  # type: ignore[attr-defined]
    check = selftest._together(base, None, world, TASKS)
    assert (check.status, check.found) == (ABSENT, "household is played one game at a time")


def test_what_is_wrong_is_found(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(student_selftest, "gpu_beside_cpu", lambda _: student_selftest.Beside(0.5, 0.1))
    monkeypatch.setattr(training_selftest, "twenty_steps", lambda _: [1.0, 1.5])
    plain = answering.Together.advance

    def muddled(self: answering.Together, seats: tuple[answering.Speaker, ...]) -> list[answering.Speaker]:
        done = plain(self, seats)
        if len(seats) > 1:
            done[0].answer.insert(0, done[0].answer[0])  # another token may look the same: bytes that are no text
        return done

    monkeypatch.setattr(answering.Together, "advance", muddled)
    checks = self_tested(base)
    assert {check.status for check in checks.values()} == {FAIL}
    assert all("duomem-mlx doctor --json" in check.fix for check in checks.values())


def test_a_part_that_breaks_is_a_fault_and_the_others_are_still_made(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("the kernel is missing")

    monkeypatch.setattr(student_selftest, "gpu_beside_cpu", broken)
    checks = self_tested(base)
    assert (checks["gpu"].status, checks["gpu"].found) == (FAIL, "RuntimeError: the kernel is missing")
    assert checks["training"].status == OK


def test_logits_are_compared_by_their_spread() -> None:
    one = mx.array([[0.0, 1.0, 4.0], [2.0, 0.0, 1.0]])
    same = student_selftest.compared(one, one)
    assert (same.apart, same.agreed) == (0, 1)
    other = student_selftest.compared(one + mx.array([[0.0, 0.0, 0.0], [-2.0, 0.0, 0.0]]), one)
    assert (other.apart, other.agreed) == (0.5, 0.5)


def test_both_devices_are_asked_for_the_same_logits(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_student(base, dtype="float32").model
    if mx.default_device().type == mx.cpu:  # it stands in for a GPU
        device = mx.Device(mx.gpu, 0)
        monkeypatch.setattr(mx, "default_device", lambda: device)
        monkeypatch.setattr(mx, "gpu", mx.cpu)
    try:
        found = student_selftest.gpu_beside_cpu(model)
    finally:
        monkeypatch.undo()
        if mx.default_device().type == mx.cpu:
            mx.disable_compile()
    assert found is not None
    assert found.apart < selftest.MOST_APART
    assert found.agreed > 0.9
