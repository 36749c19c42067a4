"""Adapters in mlx-lm's format, and knowing which base they are for.

A folder with `adapter_config.json`, `adapters.safetensors` and, where we made it, `duomem.json`, whose "base" says
what the adapter was trained on (`models.base_fingerprint`). Plain `mlx_lm.load` opens the same folder; what it takes
without a word, a layer that is missing, is refused here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from duomem_mlx.errors import DuomemError, UsageError, refuse_newer
from duomem_mlx.models_on_disk import file_sha256
from duomem_mlx.paths import digest, read_json
from duomem_mlx.trajectory import UNKNOWN_TEACHER

CONFIG = "adapter_config.json"
WEIGHTS = "adapters.safetensors"
RECORD = "duomem.json"
FORMAT = 1  # of RECORD
READ = ("fine_tune_type", "num_layers", "lora_parameters")  # of CONFIG, to open an adapter; all that ours holds
USUAL_K = 4
LEAVES = ("lora_a", "lora_b", "m")  # m: DoRA's magnitudes
WORDS = {"tokenizer": "the tokenizer is another", "model_type": "it is {theirs}, the model is {ours}"}
SHOWN = 4  # wrong names spelt out in a message


def check_files(folder: Path) -> None:
    """Raise UsageError when `folder` holds no adapter, DuomemError when its files are torn."""
    if not folder.is_dir():
        raise UsageError(
            f"There is no adapter folder {folder}.", "Check the path, or make one with `duomem-mlx train`."
        )
    _config(folder)
    record(folder)
    if not (folder / WEIGHTS).is_file():
        raise UsageError(
            f"There is no {WEIGHTS} in {folder}.", "Check the path, or let `duomem-mlx train` finish there."
        )


def record(folder: Path) -> dict[str, Any]:
    """What duomem.json says; empty where there is none. Raises DuomemError when it is torn or of a newer format."""
    if not (folder / RECORD).is_file():
        return {}
    found = read_json(folder / RECORD, "adapter record")
    if not isinstance(found, dict):
        raise DuomemError(f"{folder / RECORD} is not a JSON object.", "Restore it from a copy, or train again.")
    refuse_newer(str(folder / RECORD), found.get("format"), FORMAT)
    return found


def taught_by(adapter: Path | None) -> list[str]:
    """Who taught the adapter, in all the training it had, as its record has it; UNKNOWN_TEACHER alone where that does
    not say, nobody for no adapter."""
    if adapter is None:
        return []
    data = record(adapter).get("data")
    found = data.get("teachers") if isinstance(data, dict) else None
    return [str(name) for name in found] if found and isinstance(found, list) else [UNKNOWN_TEACHER]


def usual_k(adapter: Path | None) -> int:
    """How many memories a prompt shows: as many as the rows showed at most that the adapter was trained on; without an
    adapter, or where they showed none, 4, at which the paper's scripts with trajectories saturate."""
    own = None if adapter is None else record(adapter).get("k")
    return own if isinstance(own, int) and own > 0 else USUAL_K


def mismatch(folder: Path, fingerprint: Mapping[str, Any]) -> str | None:
    """In what the adapter's base differs from `fingerprint`; None when in nothing, or when it was not recorded."""
    base = record(folder).get("base")
    if not isinstance(base, dict):
        return None
    reasons = []
    for key, ours in fingerprint.items():
        theirs = base.get(key, ours)
        if key != "weights" and theirs != ours:
            words = WORDS.get(key, f"{key} is {{theirs}}, the model's is {{ours}}")
            reasons.append(words.format(theirs=theirs, ours=ours))
    return ", ".join(reasons) or None


def other_weights(folder: Path, fingerprint: Mapping[str, Any]) -> bool:
    """Whether the adapter was trained on other weights than those of `fingerprint`."""
    base = record(folder).get("base")
    return isinstance(base, dict) and base.get("weights", fingerprint["weights"]) != fingerprint["weights"]


def identity(folder: Path) -> str:
    """SHA-256 in hex of what decides an adapter's output: its two files, and the prompt style it asks for. Raises as
    `check_files` does."""
    check_files(folder)
    return digest([*(file_sha256(folder / name) for name in (CONFIG, WEIGHTS)), record(folder).get("prompt_style")])


def read_weights(folder: Path) -> dict[str, mx.array]:
    """The adapter's arrays by name, in memory. Raises DuomemError when the file is torn."""
    try:
        weights: Any = mx.load(str(folder / WEIGHTS))
        mx.eval(weights)
    except (RuntimeError, ValueError) as error:
        raise DuomemError(
            f"{folder / WEIGHTS} cannot be read ({str(error).splitlines()[0]}).",
            "Restore it from a copy, or train again.",
        ) from None
    return dict(weights)


@contextmanager
def described(folder: Path) -> Iterator[None]:
    """Turn what adapter_config.json lacks into one sentence."""
    try:
        yield
    except (KeyError, ValueError, TypeError) as error:
        raise DuomemError(
            f"{folder / CONFIG} does not describe an adapter of mlx-lm ({error}).",
            "It needs num_layers and lora_parameters with rank, scale, dropout and keys.",
        ) from None


def described_lora(folder: Path) -> dict[str, Any]:
    """What adapter_config.json says. Raises DuomemError where it is torn, or describes no LoRA and no DoRA."""
    config = _config(folder)
    kind = config.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora"):
        raise DuomemError(f"The adapter {folder} is of the type {kind}, not LoRA.", "Name a LoRA adapter.")
    with described(folder):
        int(config["num_layers"])
        for name in ("rank", "scale", "dropout"):
            float(config["lora_parameters"][name])
    return config


def apply(model: Any, folder: Path, dtype: str) -> None:
    """Put the adapter's layers into `model`, which computes in `dtype`, evaluated, dropout off. The layers keep the
    type they were saved in, but that half precision becomes float32 where all else is.

    Raises DuomemError when the files are torn, or naming every kind of tensor that does not fit.
    """
    from mlx_lm.tuner.utils import linear_to_lora_layers

    config = described_lora(folder)
    weights = read_weights(folder)
    with described(folder):
        linear_to_lora_layers(
            model,
            int(config["num_layers"]),
            dict(config["lora_parameters"]),
            use_dora=config.get("fine_tune_type") == "dora",
        )
    expected = {
        name: array.shape for name, array in tree_flatten(model.parameters()) if name.rpartition(".")[2] in LEAVES
    }
    given = {name: array.shape for name, array in weights.items()}
    faults = [
        _listed("not in the model", sorted(given.keys() - expected.keys())),
        _listed("missing in the adapter", sorted(expected.keys() - given.keys())),
        _listed(
            "of another shape",
            [
                f"{name} {given[name]} for {expected[name]}"
                for name in sorted(given.keys() & expected.keys())
                if given[name] != expected[name]
            ],
        ),
    ]
    if any(faults):
        raise DuomemError(
            f"The adapter {folder} does not fit the model: {'; '.join(fault for fault in faults if fault)}.",
            "Name the base it was trained on with --model.",
        )
    if dtype == "float32":  # exact, and half precision would be widened at every call anyway
        weights = {name: array.astype(mx.float32) for name, array in weights.items()}
    model.load_weights(list(weights.items()), strict=False)
    model.eval()
    mx.eval(model.parameters())


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(names[:SHOWN])}{more}"


def _config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / CONFIG, "adapter config")
    if not isinstance(config, dict):
        raise DuomemError(f"{folder / CONFIG} is not a JSON object.", "Restore it from a copy, or train again.")
    return config
