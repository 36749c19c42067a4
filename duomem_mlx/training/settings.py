"""How an adapter is trained: one frozen record for the command line, config.json and Python."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from duomem_mlx import prompt
from duomem_mlx.errors import UsageError
from duomem_mlx.student.machine import size_in_bytes

FINE_TUNE_TYPES = ("lora", "dora")
MOST_SEED = 2**64 - 1  # of MLX's and numpy's randomness
WORDS = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "a text", "tuple": "names"}


@dataclass(frozen=True)
class TrainSettings:
    """What decides the trained weights, apart from the model and the data."""

    fine_tune_type: str = "lora"  # or "dora"
    rank: int | None = None  # None: `lora.default_rank`
    scale: float = 2.0  # y = Wx + scale · BAx, that is alpha / rank
    dropout: float = 0.0
    targets: tuple[str, ...] = ()  # ends of layer names; empty: every linear layer of a block
    num_layers: int = -1  # blocks from the last one that get an adapter; -1: all
    learning_rate: float = 1e-3  # its highest value
    warmup_steps: int = 10  # at most a tenth of the steps
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    batch_size: int = 4  # rows a step
    epochs: int = 1
    iters: int | None = None  # steps; None: as many as the epochs hold
    max_seq_length: int = 2048  # tokens a row
    prompt_style: str = prompt.COMPACT
    k: int = 4  # memories a row shows at most
    held_out: float = 0.02  # share of the groups of games that are validated on, never trained on
    eval_every: int = 100  # steps
    save_every: int = 50  # steps
    patience: int = 5  # validations in a row that bring nothing better end the run; 0: it goes on to its end
    ram: int | None = None  # bytes that the process may take; None: what the machine has to give
    grad_checkpoint: bool | None = None  # None: where `ram` asks for it
    seed: int = 0
    half: bool = False  # the adapter is stored in float16

    def __post_init__(self) -> None:
        """Raises UsageError naming the first setting that makes no sense."""
        at_least_one = ("batch_size", "eval_every", "save_every", "max_seq_length")
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise _senseless(name, getattr(self, name), "at least 1")
        for name in ("rank", "iters", "ram"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise _senseless(name, getattr(self, name), "at least 1")
        for name in ("k", "epochs", "warmup_steps", "weight_decay", "patience"):
            if not 0 <= getattr(self, name) < math.inf:
                raise _senseless(name, getattr(self, name), "at least 0")
        for name in ("learning_rate", "scale", "max_grad_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise _senseless(name, getattr(self, name), "more than 0, and finite")
        for name in ("dropout", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise _senseless(name, getattr(self, name), "from 0 to below 1")
        if not 0 <= self.seed <= MOST_SEED:
            raise _senseless("seed", self.seed, f"from 0 to {MOST_SEED}")
        if self.fine_tune_type not in FINE_TUNE_TYPES:
            raise _senseless("fine_tune_type", self.fine_tune_type, f"one of {', '.join(FINE_TUNE_TYPES)}")
        if self.prompt_style not in prompt.STYLES:
            raise _senseless("prompt_style", self.prompt_style, f"one of {', '.join(prompt.STYLES)}")


def from_mapping(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings by name out of a file's mapping, with mlx-lm's `lora_parameters` taken apart. `where` names the file.

    Raises UsageError naming a setting that does not exist or a value of the wrong kind.
    """
    lora = found.get("lora_parameters") or {}
    if not isinstance(lora, Mapping):
        raise UsageError(f"In {where}, lora_parameters is {lora!r}.", "It holds rank, scale, dropout and keys.")
    inner = {"targets" if name == "keys" else name: value for name, value in lora.items()}
    flat = {**{name: value for name, value in found.items() if name != "lora_parameters"}, **inner}
    kinds = {field.name: _kind(field.type) for field in fields(TrainSettings)}
    if unknown := sorted(str(name) for name in flat if name not in kinds):
        raise UsageError(f"{where} has unknown settings: {', '.join(unknown)}.", f"Known are {', '.join(kinds)}.")
    return {name: _of_kind(name, value, kinds[name], where) for name, value in flat.items()}


def names_in(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(","))


def _kind(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _of_kind(name: str, value: Any, kind: str, where: str) -> Any:
    if value is None and "None" in kind:
        return None
    try:
        if kind.startswith("tuple"):
            return names_in(value) if isinstance(value, str) else tuple(str(one) for one in value)
        if name == "ram" and isinstance(value, str):
            return size_in_bytes(value)
        if kind.startswith("float") and not isinstance(value, bool):
            return float(value)  # YAML reads 1e-3 as text
        if kind.startswith("int") and not isinstance(value, bool) and int(value) == float(value):
            return int(value)
        if (kind.startswith("bool") and isinstance(value, bool)) or (kind == "str" and isinstance(value, str)):
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    wanted = next(words for start, words in WORDS.items() if kind.startswith(start))
    raise UsageError(f"In {where}, {name} is {value!r}.", f"It is to be {wanted}.")


def _senseless(name: str, value: object, wanted: str) -> UsageError:
    return UsageError(f"--{name.replace('_', '-')} is {value}.", f"It must be {wanted}.")
