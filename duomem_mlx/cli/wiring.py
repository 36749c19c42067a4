"""From the words of a call to the things they name: environment, student, adapter, bank."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem_mlx.cli.output import say
from duomem_mlx.defaults import defaults_of
from duomem_mlx.environment import DEFAULT, Environment, find_environment, side_effects_of
from duomem_mlx.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.student.agent import Agent
    from duomem_mlx.trajectory import Trajectory

NONE = "none"
FAST = "fast"  # what plays unless --engine says otherwise
OF_THE_ADAPTER = ("fine_tune_type", "rank", "scale", "dropout", "targets", "num_layers")  # it keeps what it has
ARCHITECTURE = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")


def one_thread_a_product() -> None:
    """Before MLX is loaded: on a CPU a row or a game on each core beats one on all cores."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def open_environment(env: str, games_dir: Path | None, engine: str) -> Environment:
    """The world a call names, made with what the call says of how: a world that knows no such option refuses it."""
    said = {"games_dir": games_dir, "engine": None if engine == FAST else engine}
    return find_environment(env, **{name: value for name, value in said.items() if value is not None})


def world_named(env: str) -> dict[str, str | None]:
    """The option that names a world in the call of another command, which leaves out the default one."""
    return {"--env": None if env == DEFAULT else env}


def may_play(environment: Environment, allowed: bool) -> None:
    """Raises UsageError for a world that reaches outside of its games, where that is not `allowed`."""
    effects = side_effects_of(environment)
    if effects is not None and not allowed:
        raise UsageError(
            f"{environment.name} says that playing it {effects}.", "Add --allow-side-effects if that is meant."
        )


def adapter_path(name: str | None, model: str | None, environment: Environment) -> Path | None:
    """The adapter's folder: what the user named, else the one that is shipped for the world, where the model is of its
    base."""
    from duomem_mlx.paths import shipped
    from duomem_mlx.student.agent import adapter_folder

    if name == NONE:
        return None
    if name is not None:
        return adapter_folder(name)
    usual = defaults_of(environment).adapter
    if not usual:
        say(f"No adapter: none was named and none is shipped for {environment.name}.")
        return None
    if model is not None and has_one_fused(model):
        say(f"No adapter: {model} has one fused into it.")
        return None
    folder = shipped("adapters", usual)
    if folder is None:
        say("No adapter: none was named and none is shipped.")
    elif model is not None and (reason := other_base(folder, model)):
        say(f"No adapter: the shipped {usual} is for another base than {model} ({reason}).")
        return None
    return folder


def begun_from(name: str, model: str | None, given: dict[str, Any]) -> Path:
    """The folder of the adapter that training goes on from. Raises UsageError when there is none, it is for another
    base, or a setting was given that only a fresh one could follow."""
    from duomem_mlx.student.agent import adapter_folder

    if own := [name for name in OF_THE_ADAPTER if given.get(name) is not None]:
        raise UsageError(f"An adapter keeps its own {', '.join(own)}.", "Leave that out, or begin a fresh one.")
    folder = adapter_folder(str(Path(name).parent) if Path(name).is_file() else name)
    if reason := other_base(folder, model):
        raise UsageError(f"The adapter {folder} was trained for another base: {reason}.", "Name its base with --model.")
    return folder


def has_one_fused(model: str) -> bool:
    from duomem_mlx.student.adapters import record

    return (folder := Path(model).expanduser()).is_dir() and "fused" in record(folder)


def other_base(adapter: Path, model: str | None) -> str | None:
    """In what the model's architecture differs from the one the adapter was trained on, without loading it."""
    from duomem_mlx.paths import read_json
    from duomem_mlx.student.adapters import check_files, mismatch
    from duomem_mlx.student.models import student_folder

    check_files(adapter)
    config = read_json(student_folder(model) / "config.json", "model configuration")
    inner = {**config, **config.get("text_config", {}), "model_type": config.get("model_type")}
    return mismatch(adapter, {key: inner.get(key) for key in ARCHITECTURE})


def trained_style(adapter: Path) -> str | None:
    """How the prompts were written that an adapter was trained on; None where it does not say. All arms of an
    evaluation are asked so, that they differ in what they were taught and in nothing else."""
    from duomem_mlx.student.adapters import record

    style = record(adapter).get("prompt_style")
    return None if style is None else str(style)


def open_bank(name: str | None, environment: Environment, model: str | None = None) -> "Bank | None":
    """The bank: what the user named, else the one that is shipped for the world. `model` is whose key facts a bank may
    be found by."""
    from duomem_mlx.cli.writers import ready
    from duomem_mlx.memory.bank import Bank

    if name == NONE:
        return None
    folder = bank_folder(name, environment)
    if folder is None:
        say(f"No memories: none were named and none are shipped for {environment.name}.")
        return None
    return ready(Bank.open(folder), model)


def bank_folder(name: str | None, environment: Environment | None = None) -> Path | None:
    """Of the bank of that name, for None of the one that is shipped for the world, by default for the usual one; None
    where none is. Raises UsageError when none has that name."""
    from duomem_mlx.memory.folders import find_bank
    from duomem_mlx.paths import shipped

    if name is not None:
        return find_bank(name)
    usual = defaults_of(find_environment(DEFAULT) if environment is None else environment).memories
    return shipped("memories", usual) if usual else None


def agent(
    environment: Environment,
    model: str | None,
    adapter: Path | None,
    bank: "Bank | None",
    k: int,
    style: str | None,
    settings: Any = None,
    told: set[str] | None = None,
) -> "Agent":
    """Its warnings are said, but for those that are `told` already."""
    from duomem_mlx.student.agent import Agent, writer_for
    from duomem_mlx.student.episodes import PlaySettings
    from duomem_mlx.student.models import load_student

    student = load_student(model, adapter=adapter)
    for warning in student.warnings:
        if told is None or warning not in told:
            say(warning)
        if told is not None:
            told.add(warning)
    return Agent(student, writer_for(student, environment, style), environment, bank, k, settings or PlaySettings())


def identities(model: str | None, adapter: Path | None, bank: "Bank | None") -> dict[str, Any]:
    """What was evaluated, by name and by hash."""
    from duomem_mlx.models_on_disk import STUDENT, locate
    from duomem_mlx.student.adapters import identity

    located = locate(model or STUDENT)
    return {
        "model": located.name,
        "model_hash": located.identity,
        "adapter": None if adapter is None else adapter.name,
        "adapter_hash": None if adapter is None else identity(adapter),
        "memories": None if bank is None else bank.name,
        "memories_hash": None if bank is None else bank.identity,
    }


def teachers(adapter: Path | None, bank: "Bank | None") -> dict[str, Any]:
    """Who taught the adapter and whose successes the memories are, as far as they say."""
    from duomem_mlx.student.adapters import taught_by

    found = sorted({*taught_by(adapter), *(memory.source.teacher for memory in bank or ())})
    return {"teachers": found} if found else {}


def own_identity(bank: "Bank | None") -> dict[str, Any]:
    """Of a bank of the student's own successes, where there is one."""
    return {} if bank is None else {"own_memories": bank.name, "own_memories_hash": bank.identity}


def tell_whose(bank: "Bank", model: str) -> None:
    """A line where a bank that is said to be the student's own was made by another, or in games that measure."""
    from collections import Counter

    from duomem_mlx.trajectory import measures

    sources = [memory.source for memory in bank]
    if others := Counter(source.teacher for source in sources if source.teacher != model):
        told = ", ".join(f"{count} of {who}" for who, count in others.most_common(3))
        say(f"Careful: {bank.path} is not all {model}'s own: it holds {told}.")
    if splits := sorted({source.split for source in sources if measures(source.split)}):
        say(f"Careful: {bank.path} was made in games of {', '.join(splits)}; figures on that split will mean nothing.")


def tell_what_measures(trajectories: "Iterable[Trajectory]") -> None:
    """A line for whoever is about to learn from the games that measure."""
    from duomem_mlx.trajectory import measures

    splits = sorted({trajectory.split for trajectory in trajectories if measures(trajectory.split)})
    if splits:
        say(f"Careful: some of these games are of {', '.join(splits)}; figures on that split will mean nothing.")
