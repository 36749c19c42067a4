"""Whether this machine computes what it should: the GPU beside the CPU, games together beside games alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from duomem_mlx.environment import Environment
from duomem_mlx.guarded import open_game
from duomem_mlx.offers import refused_by
from duomem_mlx.student.episodes import Entry, PlaySettings, play
from duomem_mlx.student.transcript import Writer

TOKENS = 64
STEPS, ANSWER = 2, 8  # actions a game, tokens an answer: enough to go on from a carried cache


@dataclass(frozen=True)
class Beside:
    """The same logits by two devices."""

    apart: float  # largest difference, as a share of the spread of the logits
    agreed: float  # share of places where the likeliest token is the same


def gpu_beside_cpu(model: Any) -> Beside | None:
    """The model's logits on `TOKENS` tokens, by the GPU and by the CPU; None where MLX has no GPU here."""
    if mx.default_device().type == mx.cpu:
        return None
    ids = mx.arange(3, 3 + TOKENS)[None]
    mx.disable_compile()  # on a CPU it would call a compiler
    try:
        found = []
        for device in (mx.gpu, mx.cpu):
            with mx.stream(mx.Device(device, 0)):
                found.append(model(ids)[0].astype(mx.float32))
                mx.eval(found[-1])
    finally:
        mx.enable_compile()
    return compared(*found)


def compared(one: mx.array, other: mx.array) -> Beside:
    """Logits [places, vocabulary] beside others."""
    with mx.stream(mx.Device(mx.cpu, 0)):
        apart: Any = (mx.abs(one - other).max() / (other.max() - other.min())).item()
        agreed: Any = (one.argmax(-1) == other.argmax(-1)).mean().item()
    return Beside(float(apart), float(agreed))


def together_beside_alone(
    student: Any, writer: Writer, environment: Environment, tasks: Sequence[str]
) -> tuple[int, int]:
    """Answers that were the same when games were played together and alone, and all answers. Raises as `play`."""
    alone, together = (_answers(student, writer, environment, tasks, width) for width in (1, len(tasks)))
    return sum(alone.get(place) == said for place, said in together.items()), max(len(alone), len(together))


def _answers(
    student: Any, writer: Writer, environment: Environment, tasks: Sequence[str], width: int
) -> dict[tuple[str, int], tuple[str, int]]:
    """Game and number of the answer -> what was said, in how many tokens."""
    settings = PlaySettings(max_steps=STEPS, max_tokens=ANSWER, width=width)
    entries = (Entry(task, open_game(environment, task)) for task in tasks)
    said: dict[tuple[str, int], tuple[str, int]] = {}
    for turn in play(student, writer, entries, settings, refused_by(environment)):
        number = sum(key == turn.key for key, _ in said)
        said[turn.key, number] = turn.said, turn.tokens_out
    return said
