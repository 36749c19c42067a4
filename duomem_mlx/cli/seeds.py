"""Adapters of several training seeds, evaluated as one arm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from duomem_mlx.cli import wiring
from duomem_mlx.cli.output import say
from duomem_mlx.environment import Environment

Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        "--adapter-path",
        metavar="ID",
        help="A name under adapters/, a folder, what was pulled, or none [default: the one shipped for the world]; "
        "repeatable, for adapters that differ in their training seed: figures are then means over the seeds.",
    ),
]


def adapters_of(
    names: list[str] | None, model: str | None, environment: Environment
) -> tuple[Path | None, dict[int, Path]]:
    """The adapter's folder, and where several are named all of them by training seed, the first being that of the
    least. Raises UsageError when one is for another base, or the seeds do not tell them apart."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.student.adapters import record

    if names is None or len(names) == 1:
        folder = wiring.adapter_path(names[0] if names else None, model, environment)
        if folder is not None and names:
            _refuse_other_base(folder, model)
        return folder, {}
    if wiring.NONE in names:
        raise UsageError("--adapter is none and something else.", "Arms without an adapter are among --arm: base.")
    found: dict[int, Path] = {}
    settings: dict[int, Any] = {}
    for name in names:
        folder = wiring.adapter_path(name, model, environment)
        assert folder is not None
        _refuse_other_base(folder, model)
        settings_of = record(folder).get("settings")
        seed = settings_of.get("seed") if isinstance(settings_of, dict) else None
        if not isinstance(seed, int):
            raise UsageError(
                f"The adapter {folder} does not say its training seed.", "Evaluate it alone, or train it with `train`."
            )
        if seed in found:
            raise UsageError(
                f"{found[seed]} and {folder} were both trained with seed {seed}.", "Train each with another --seed."
            )
        found[seed], settings[seed] = folder, settings_of
    found = dict(sorted(found.items()))
    _tell_what_else_differs(settings)
    return next(iter(found.values())), found


def identities(by_seed: Mapping[int, Path]) -> dict[str, Any]:
    """The adapters by seed, each by name and hash; empty where there is one."""
    from duomem_mlx.student.adapters import identity

    told = {str(seed): {"adapter": path.name, "adapter_hash": identity(path)} for seed, path in by_seed.items()}
    return {"adapters": told} if told else {}


def _refuse_other_base(folder: Path, model: str | None) -> None:
    from duomem_mlx.errors import UsageError

    if reason := wiring.other_base(folder, model):
        raise UsageError(f"The adapter {folder} was trained for another base: {reason}.", "Name its base with --model.")


def _tell_what_else_differs(settings: Mapping[int, Mapping[str, Any]]) -> None:
    first, *others = settings.values()
    names = {name for other in others for name in {*first, *other} if first.get(name) != other.get(name)} - {"seed"}
    if names:
        say(f"Careful: these adapters differ in more than their seed ({', '.join(sorted(names))}).")
