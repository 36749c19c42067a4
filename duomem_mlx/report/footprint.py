"""What an arm takes on disk: bytes and parameters of the very files that were evaluated, where they are at hand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.folders import FILES, is_bank
from duomem_mlx.models_on_disk import locate
from duomem_mlx.paths import shipped


@dataclass(frozen=True)
class Footprint:
    """Of what is at hand; None stands for what is not."""

    base_bytes: int | None = None  # the file or files of weights
    adapter_bytes: int | None = None  # weights and settings
    adapter_parameters: int | None = None
    bank_bytes: int | None = None  # texts and vectors
    bank_memories: int | None = None
    own_bank_bytes: int | None = None  # of the student's own successes
    own_bank_memories: int | None = None


def footprint(
    run: Mapping[str, Any], adapter: Path | None, bank: Path | None, own_bank: Path | None = None
) -> Footprint:
    """`adapter`, `bank` and `own_bank` are folders that `at_hand` gave."""
    figures: dict[str, int] = {}
    try:
        model = locate(str(run["model"]), fetch=False)
        if model.identity == run["model_hash"]:
            weights = [model.path] if model.path.is_file() else model.path.glob("model*.safetensors")
            figures["base_bytes"] = _bytes(weights)
    except (DuomemError, KeyError):
        pass  # it is on another machine
    if adapter is not None:
        from duomem_mlx.student.adapters import CONFIG, WEIGHTS, read_weights

        figures["adapter_bytes"] = _bytes(adapter / name for name in (CONFIG, WEIGHTS))
        figures["adapter_parameters"] = sum(array.size for array in read_weights(adapter).values())
    for name, folder in (("bank", bank), ("own_bank", own_bank)):
        if folder is not None:
            figures[f"{name}_bytes"] = _bytes(path for pattern in FILES for path in folder.glob(pattern))
            with Bank.open(folder) as opened:
                figures[f"{name}_memories"] = len(opened)
    return Footprint(**figures)


def adapter_at_hand(run: Mapping[str, Any], named: Path | None) -> Path | None:
    """The folder of the adapter that was evaluated: `named`, else the shipped one; None where it is not here. Raises
    UsageError when `named` is another one."""
    from duomem_mlx.student.adapters import identity

    if run.get("adapter") is None:
        return None
    folder = named or shipped("adapters", str(run["adapter"]))
    return _the_one(folder, named, "adapter", lambda path: identity(path) == run.get("adapter_hash"))


def bank_at_hand(run: Mapping[str, Any], named: Path | None, what: str = "memories") -> Path | None:
    """The folder of the bank that was evaluated as `what`, as `adapter_at_hand`."""
    if run.get(what) is None:
        return None
    folder = named or shipped("memories", str(run[what]))

    def is_it(path: Path) -> bool:
        with Bank.open(path) as bank:
            return bank.identity == run.get(f"{what}_hash")

    return _the_one(folder if named or (folder and is_bank(folder)) else None, named, "bank", is_it)


def _the_one(folder: Path | None, named: Path | None, what: str, is_it: Any) -> Path | None:
    if folder is None or is_it(folder):
        return folder
    if named is not None:
        raise UsageError(f"{named} is not the {what} that was evaluated.", "Name that one, or leave it out.")
    return None


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())
