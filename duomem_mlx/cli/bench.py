"""`duomem-mlx bench`: how quick this machine plays, to be pasted where others can compare."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from json import dumps, loads
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duomem_mlx.cli import options, output, wiring

if TYPE_CHECKING:
    from pathlib import Path

    from duomem_mlx.student.agent import Agent
    from duomem_mlx.student.models import Student

Count = Annotated[int, typer.Option("--limit", min=0, metavar="N", help="Games that are played; 0: none.")]
Cold = Annotated[
    bool, typer.Option("--cold-start/--no-cold-start", help="Time a `run` from its call to its first action.")
]
COLUMNS = ("measured", "figure", "unit")


def bench(
    model: options.Model = None,
    adapter: options.Adapter = None,
    memories: options.Memories = None,
    k: options.K = None,
    games: options.ManyGames = None,
    games_dir: options.GamesDir = None,
    env: options.Env = options.WORLD,
    limit: Count = 3,
    max_steps: options.MaxSteps = None,
    prompt_style: options.PromptStyle = None,
    cold_start: Cold = True,
    allow_side_effects: options.SideEffects = False,
    json: options.Json = False,
) -> None:
    """Measure this machine with a student: reading, answering, whole games, a cold start, memory.

    It takes a minute or two with the default student on two cores. Nothing is written. On a CPU it computes as
    `evaluate` does, one thread a product; a cold start is a process of its own, as `run` is.
    """
    as_called = dict(os.environ)
    wiring.one_thread_a_product()
    from duomem_mlx import __version__
    from duomem_mlx.defaults import defaults_of, many_games
    from duomem_mlx.environment import ordered
    from duomem_mlx.student import bench as measure
    from duomem_mlx.student.adapters import usual_k
    from duomem_mlx.student.machine import machine_record, peak_array_bytes, peak_resident_bytes
    from duomem_mlx.student.models import student_folder

    environment = wiring.open_environment(env, games_dir, "fast")
    if limit or cold_start:
        wiring.may_play(environment, allow_side_effects)
    student_folder(model)  # a start is not to fetch or repack it
    tasks = ordered(environment, games or many_games(environment), limit) if limit else []
    folder = wiring.adapter_path(adapter, model, environment)
    k = usual_k(folder) if k is None else k
    bank = wiring.open_bank(memories, environment, model) if k else None
    world = {**wiring.world_named(env), "--games-dir": games_dir, "--games": games}
    colds: dict[str, list[str]] = {}
    if cold_start:
        colds = cold_calls(world, model, adapter, memories if k else wiring.NONE, k, prompt_style, allow_side_effects)
    total = len(colds) + len(measure.PREFILLS) + len(measure.BATCHES) + len(tasks)
    done = 0

    with output.progress("Measuring", total) as advance:

        def step(note: str, by: int = 1) -> None:
            nonlocal done
            done += by
            advance(done, note)

        starts = {name: told(step, started(words, as_called), f"a start {name}") for name, words in colds.items()}
        began = time.perf_counter()
        agent = wiring.agent(environment, model, folder, bank, k, prompt_style)
        loaded = time.perf_counter() - began
        speed = measure.Speed(agent.student.model)
        prefill = [told(step, found, "reading") for found in speed.reading()]
        decode = [told(step, found, "answering") for found in speed.answering()]
        played, steps = None, max_steps or defaults_of(environment).max_steps
        if tasks:
            played = measure.playing(agent, environment, tasks, steps, lambda over: step(f"game {over}"))
    record = {
        "format": 1,
        "version": __version__,
        "machine": machine_record(),
        **described(agent, folder),
        "load_seconds": round(loaded, 3),
        "prefill": [asdict(found) for found in prefill],
        "decode": [asdict(found) for found in decode],
        "play": None if played is None else asdict(played),
        "cold_start": starts,
        "peak_array_bytes": peak_array_bytes(),
        "peak_resident_bytes": peak_resident_bytes(),
    }
    rounded = loads(dumps(record), parse_float=lambda text: round(float(text), 4))
    if json:
        output.result(rounded)
        return
    for name, text in heading(rounded):
        output.line(f"{name:9} {text}")
    output.line("")
    output.table(COLUMNS, list(rows(rounded)))


def told(step: Callable[[str], None], found: Any, note: str) -> Any:
    step(note)
    return found


def described(agent: "Agent", folder: "Path | None") -> dict[str, Any]:
    """Which student it was."""
    from duomem_mlx.student.fusing import bits_of

    student: Student = agent.student
    return {
        "model": student.name,
        "model_hash": student.identity,
        "dtype": student.dtype,
        "bits": bits_of(student.config),
        "adapter": None if folder is None else folder.name,
        "memories": None if agent.bank is None else agent.bank.name,
        "k": agent.k if agent.bank is not None else 0,
        "prompt_style": agent.writer.style,
    }


def cold_calls(
    world: "Mapping[str, Path | str | None]",
    model: str | None,
    adapter: str | None,
    memories: str | None,
    k: int,
    prompt_style: str | None,
    allow_side_effects: bool = False,
) -> dict[str, list[str]]:
    """Name -> the words of a `run` that stops at its first action."""
    named = {**world, "--model": model, "--adapter": adapter, "--prompt-style": prompt_style}
    words = ["run", "--json", "--max-steps", "1", *(["--allow-side-effects"] if allow_side_effects else [])]
    words += [word for name, value in named.items() if value is not None for word in (name, str(value))]
    calls = {"without memories": [*words, "--memories", wiring.NONE]}
    if memories != wiring.NONE:
        calls["with memories"] = [*words, "-k", str(k), *(["--memories", memories] if memories else [])]
    return calls


def started(words: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Seconds that a new process takes to its first action, as it counts them itself, whole and by part, and until it
    has ended. Raises DuomemError when it fails."""
    from duomem_mlx.errors import DuomemError

    began = time.perf_counter()
    call = [sys.executable, "-m", "duomem_mlx", *words]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["It said nothing."])[-1].removeprefix("duomem-mlx: ")
        raise DuomemError(f"A cold start failed. {said}", "Or leave it out with --no-cold-start.")
    counted = {name: spent for name, spent in loads(done.stdout).items() if name.startswith("first_action_")}
    return {**counted, "process_seconds": seconds}


def heading(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was measured, and where."""
    machine = record["machine"]
    yield "machine", f"{machine['chip']}, {machine['cores']} cores, {machine['ram_gb']} GB"
    yield "system", f"{machine['system']}, power: {machine['power'] or 'not known'}"
    yield "versions", f"duomem-mlx {record['version']}, MLX {machine['mlx']}, mlx-lm {machine['mlx_lm']}"
    packed = f", {record['bits']} bits a weight" if record["bits"] else ""
    yield "student", f"{record['model']}, {record['dtype']}{packed}, on the {machine['device']}"
    yield "adapter", record["adapter"] or "none"
    yield "memories", f"{record['k']} of {record['memories']}" if record["memories"] else "none"


def rows(record: dict[str, Any]) -> Iterator[list[str]]:
    """The figures, under COLUMNS."""
    for name, start in record["cold_start"].items():
        yield [f"first action of a new process, {name}", f"{start['first_action_seconds']:.2f}", "s"]
    yield ["loading the student", f"{record['load_seconds']:.2f}", "s"]
    for found in record["prefill"]:
        yield [f"reading a prompt of {found['tokens']} tokens", f"{found['tokens_per_second']:.0f}", "tokens/s"]
    for found in record["decode"]:
        name = "one answer" if found["batch"] == 1 else f"{found['batch']} answers at once"
        yield [f"writing {name}", f"{found['tokens_per_second']:.1f}", "tokens/s"]
    if played := record["play"]:
        yield ["a turn", f"{played['seconds_per_turn']:.2f}", "s"]
        tokens = f"s, {played['tokens_per_game']:.0f} tokens computed"
        yield [f"a game, mean of {played['games']}, {played['won']} won", f"{played['seconds_per_game']:.1f}", tokens]
    yield ["the process at its peak", f"{record['peak_resident_bytes'] / 2**30:.2f}", "GB"]
    yield ["MLX's arrays at their peak", f"{record['peak_array_bytes'] / 2**30:.2f}", "GB"]
