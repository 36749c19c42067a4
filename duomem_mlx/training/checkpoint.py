"""Where a run stands, in one file: weights, optimizer, step, best score and means, written whole or not at all."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from duomem_mlx.errors import DuomemError
from duomem_mlx.student.saving import save_arrays
from duomem_mlx.training import budget
from duomem_mlx.training.budget import UNBOUNDED, Means
from duomem_mlx.training.ranks import Ranks

FORMAT = 2  # 1: the optimizer's state by the names of the weights
NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class State:
    """A run between two steps. The rows of every step and all randomness follow from `step` and the run's identity,
    so the step is the data position too."""

    step: int  # steps done
    weights: dict[str, mx.array]
    optimizer: Any  # the optimizer's state, a tree of arrays
    means: Means = UNBOUNDED  # found out when the run began
    best_loss: float | None = None  # per supervised token, on what is held out
    best_step: int | None = None
    best_weights: dict[str, mx.array] = field(default_factory=dict)


def save(folder: Path, state: State, identity: Mapping[str, str]) -> None:
    """Replace the folder's checkpoint. `identity` is what a resumed run must share, by name."""
    arrays = {f"weights/{name}": array for name, array in state.weights.items()}
    arrays |= {f"optimizer/{name}": array for name, array in tree_flatten(state.optimizer)}
    arrays |= {f"best/{name}": array for name, array in state.best_weights.items()}
    about = {
        "format": FORMAT,
        "step": state.step,
        "best_loss": state.best_loss,
        "best_step": state.best_step,
        "means": asdict(state.means),
        "identity": dict(identity),
    }
    save_arrays(folder / NAME, arrays, {"duomem": json.dumps(about)})


def kept(folder: Path) -> tuple[int, Means] | None:
    """How far the run in `folder` had come, and its means; None where there is no checkpoint. Raises DuomemError as
    `load` does."""
    path = folder / NAME
    if not path.is_file():
        return None
    about = _parsed(path.read_bytes(), path)[1]
    return int(about["step"]), budget.from_record(about["means"])


def load(folder: Path, identity: Mapping[str, str], ranks: Ranks = Ranks()) -> State | None:
    """The state a run left in `folder`, in memory, on every rank as the first one finds it there; None where there is
    none.

    Raises DuomemError when the file is torn, newer, or of a run with another identity, naming what differs.
    """
    path = folder / NAME
    data = ranks.from_first(path.read_bytes() if ranks.first and path.is_file() else None)
    if data is None:
        return None
    arrays, about = _parsed(data, path)
    found = about["identity"]
    if changed := sorted(name for name in {*found, *identity} if found.get(name) != identity.get(name)):
        raise DuomemError(
            f"The run in {folder} was begun with another {' and another '.join(changed)}.",
            "Bring that back, choose another --out, or start again with --overwrite.",
        )
    groups: dict[str, dict[str, mx.array]] = {"weights": {}, "optimizer": {}, "best": {}}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = array
    return State(
        step=about["step"],
        weights=groups["weights"],
        optimizer=tree_unflatten(sorted(groups["optimizer"].items())),
        means=budget.from_record(about["means"]),
        best_loss=about["best_loss"],
        best_step=about["best_step"],
        best_weights=groups["best"],
    )


def _parsed(data: bytes, path: Path) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """Out of bytes, not out of the file: MLX reads that lazily, and it will be replaced."""
    try:
        loaded: Any = mx.load(io.BytesIO(data), format="safetensors", return_metadata=True)
        arrays, metadata = loaded
        about = json.loads(metadata["duomem"])
        mx.eval(arrays)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise DuomemError(
            f"The checkpoint {path} cannot be read ({reason}).", "Train again with --overwrite."
        ) from None
    if about["format"] > FORMAT:
        raise DuomemError(f"The checkpoint {path} is of a newer version.", "Install a newer duomem-mlx.")
    if about["format"] < FORMAT:
        raise DuomemError(f"The checkpoint {path} is of an older version.", "Train again with --overwrite.")
    return arrays, about


def remove(folder: Path) -> None:
    """A finished run needs it no more."""
    (folder / NAME).unlink(missing_ok=True)
