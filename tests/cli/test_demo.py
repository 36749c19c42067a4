from typing import Any

import pytest

from duomem_mlx.cli import wiring
from duomem_mlx.cli.main import app, status


def test_the_taught_student_is_shown_as_many_memories_as_it_was_trained_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str | None, int]] = []

    def agent(environment: Any, model: Any, adapter: Any, bank: Any, k: int, *more: Any) -> None:
        asked.append((adapter and adapter.name, k))

    monkeypatch.setattr(wiring, "agent", agent)
    monkeypatch.setattr("duomem_mlx.demo.play_both", lambda *given: iter(()))
    monkeypatch.setattr("duomem_mlx.student.adapters.record", lambda folder: {"k": 3})
    assert status(lambda: app(["demo"])) == 0
    assert asked == [(None, 0), ("smollm2-135m-alfworld", 3)]
    assert "task" in capsys.readouterr().out
