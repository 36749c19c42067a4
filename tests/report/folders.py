"""Results folders as `evaluate` leaves them, made without playing anything."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from duomem_mlx.evaluation.arms import ARMS, TEACHER
from duomem_mlx.evaluation.results import episode_path, summarise
from duomem_mlx.paths import write_json
from duomem_mlx.trajectory import Episode, PlayedStep, to_record

KINDS = ("pick_and_place_simple", "look_at_obj_in_light", "pick_two_obj_and_place")
THINGS = ("mug", "pen", "box", "cd", "bowl", "watch", "statue", "pillow", "keychain", "book")
PLACES = ("desk", "shelf", "drawer", "bed", "sofa", "cabinet", "countertop", "sidetable")
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028 $\\frac{ ${7*7} {{7*7}} | `x` \x00\x1b[31m"
)
RUN = {
    "command": "evaluate",
    "env": "household",
    "games": "valid_seen",
    "k": [2],
    "seed": 0,
    "play": {"max_steps": 30, "max_tokens": None, "max_context_tokens": 8192, "width": 1},
    "model": "smollm2-135m",
    "model_hash": "0" * 64,
    "adapter": "of-nobody",
    "adapter_hash": "1" * 64,
    "memories": None,
    "memories_hash": None,
}
HEADER = {"split": "valid_seen", "max_steps": 30, "model": "smollm2-135m", "k": 2, "machine": {"chip": "abacus"}}


def episode(game: str, arm: str, won: bool, steps: Sequence[PlayedStep], **more: Any) -> Episode:
    fields: dict[str, Any] = {
        "environment": "household",
        "game": game,
        "split": "valid_seen",
        "kind": KINDS[0],
        "task": "put some mug on desk",
        "opening": "You see a desk 1, and a shelf 1.",
        "score": float(won),
        "end": "won" if won else "steps",
        "teacher": {"kind": "student"},
        "seconds": 1.5,
        "created": "2026-11-24T13:38:33+00:00",
        "arm": arm,
        "k": 2,
        **more,
    }
    return Episode(won=won, steps=tuple(steps), **fields)


def step(action: str, observation: str, *flags: str) -> PlayedStep:
    return PlayedStep(action, observation, tokens_new=40, tokens_cached=200, tokens_out=6, seconds=0.5, flags=flags)


def results(
    folder: Path,
    episodes: Sequence[Episode],
    finished: bool = True,
    more_seeds: Mapping[int, Sequence[Episode]] = MappingProxyType({}),
    **run: Any,
) -> Path:
    """`episodes` are those of seed 0."""
    write_json(folder / "config.json", {"format": 1, "run": {**RUN, **run}})
    for seed, of_seed in {0: episodes, **more_seeds}.items():
        for one in of_seed:  # not as safely as an evaluation does, which takes ten times as long
            path = episode_path(folder, one.arm, seed, one.game)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(to_record(one), ensure_ascii=False), encoding="utf-8")
    if finished:
        summarise(folder, sorted({one.game for one in episodes}), HEADER, 30, [*ARMS, TEACHER])
    return folder


def two_games(arms: Sequence[str] = ("base", "adapter")) -> list[Episode]:
    """`base` wins neither, every other arm the first."""
    played = []
    for arm in arms:
        good = arm != "base"
        found = [step("go to shelf 1", "You see a mug 1."), step("take mug 1", "Taken.")]
        lost = [step("dance", "Nothing happens.", "refused", "loop")] * 3
        played.append(episode("g/1", arm, good, found if good else lost))
        played.append(episode("g/2", arm, False, lost, kind=KINDS[1], task="look at pen under the desklamp"))
    return played


def hostile_games() -> list[Episode]:
    """Nothing but hostile texts, wherever an episode can hold one."""
    more = {"kind": HOSTILE, "task": HOSTILE, "opening": HOSTILE, "memories": ({"id": HOSTILE, "cosine": "no"},)}
    return [episode("g", arm, False, [step(HOSTILE, HOSTILE, HOSTILE)], **more) for arm in ("base", "duomem")]


def many_games(games: int, arms: Sequence[str], seed: int = 0) -> list[Episode]:
    """As long and as varied as real ones of the household, 30 steps where a game was not won."""
    draw = random.Random(seed)

    def things(count: int) -> str:
        return ", ".join(f"a {draw.choice(THINGS)} {draw.randint(1, 9)}" for _ in range(count))

    played = []
    for number in range(games):
        kind, task = KINDS[number % len(KINDS)], f"put some {draw.choice(THINGS)} on {draw.choice(PLACES)}"
        opening = f"Looking quickly around you, you see {things(18)}.\n\nYour task is to: {task}."
        game = f"valid_seen/{kind}-{draw.choice(THINGS)}-{number}/trial_T2019{draw.randint(10**9, 10**10)}"
        for arm in arms:
            won = draw.random() < {"base": 0.03, "memories": 0.3}.get(arm, 0.8)
            steps = []
            for _ in range(draw.randint(4, 20) if won else 30):
                place = f"{draw.choice(PLACES)} {draw.randint(1, 20)}"
                seen = f"You arrive at {place}. On the {place}, you see {things(draw.randint(0, 7))}."
                refused = draw.random() < 0.2
                steps.append(
                    step(f"go to {place}", "Nothing happens." if refused else seen, *(["refused"] if refused else []))
                )
            memories = tuple({"id": f"{draw.getrandbits(64):016x}", "cosine": draw.random()} for _ in range(4))
            played.append(episode(game, arm, won, steps, kind=kind, task=task, opening=opening, memories=memories))
    return played
