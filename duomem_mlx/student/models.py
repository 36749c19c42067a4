"""Loading a student: the default one, a folder or a Hub id, with or without an adapter, in the type that suits the
device."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.models_on_disk import STUDENT, Located, locate
from duomem_mlx.paths import digest, home, read_json
from duomem_mlx.student import adapters, gguf

DTYPES = ("float32", "float16", "bfloat16")
PROBE = 'You are in a room.\n\n> go to drawer 12\nOn it, you see 3 "mugs" — été, <|im_end|>  7\n'


@dataclass(frozen=True)
class Student:
    """A model that is ready to play. `warnings` are lines a person should see."""

    model: Any  # an mlx_lm nn.Module: model(ids [B, T], cache=…) -> logits [B, T, vocabulary]
    tokenizer: Any  # mlx_lm's TokenizerWrapper
    name: str  # as it was asked for
    folder: Path  # what plain mlx_lm.load opens to get the same base
    identity: str  # sha256 in hex of the base's weights and tokenizer, whatever type they are loaded in
    dtype: str
    config: dict[str, Any]
    adapter: Path | None = None
    adapter_identity: str | None = None  # sha256 in hex of the adapter's files
    adapter_record: dict[str, Any] = field(default_factory=dict)  # its duomem.json; a fused model has one too
    warnings: tuple[str, ...] = ()


def default_dtype(stored: str = "float16") -> str:
    """float32 on a CPU, where products in half precision are twenty times slower; on a GPU float16, or bfloat16 for
    weights that are stored so (their range may need it)."""
    if mx.default_device().type == mx.cpu:
        return "float32"
    return "bfloat16" if stored == "bfloat16" else "float16"


def load_student(name: str | None = None, adapter: Path | None = None, dtype: str | None = None) -> Student:
    """Load the model called `name` (a known name, a folder, a Hub id; default the shipped student), evaluated in
    memory, in `dtype` ("float32", "float16", "bfloat16"; default `default_dtype`), with `adapter` applied.

    On a CPU `mx.compile` is turned off for the process: it would call a compiler at run time and gains nothing.

    Raises UsageError for a model, adapter or type that does not exist and for an adapter of another base; DuomemError
    for what is torn or cannot be fetched.
    """
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"There is no type {dtype!r} for weights.", f"Use one of {', '.join(DTYPES)}.")
    if adapter is not None:
        adapters.check_files(adapter)
    if mx.default_device().type == mx.cpu:
        mx.disable_compile()
    found = locate(name or STUDENT)
    folder = _folder(found, dtype)
    model, config = read_model(folder, found.name)
    dtype = dtype or default_dtype(stored_dtype(model))
    if stored_dtype(model) != dtype:
        model.set_dtype(getattr(mx, dtype))
    mx.eval(model.parameters())  # mx.load is lazy: the file may be replaced later
    student = Student(
        model=model,
        tokenizer=_tokenizer(folder, config, found.name),
        name=found.name,
        folder=folder,
        identity=found.identity,
        dtype=dtype,
        config=config,
        adapter_record=adapters.record(folder),  # of a model that has one fused into it
    )
    return student if adapter is None else add_adapter(student, adapter)


def student_folder(name: str | None = None, dtype: str | None = None) -> Path:
    """The folder that plain `mlx_lm.load` opens for this base; the default student is repacked there first, in
    `dtype` (default as for `load_student`). Raises as `load_student` does."""
    return _folder(locate(name or STUDENT), dtype)


def load_tokenizer(name: str | None = None) -> Any:
    """The tokenizer of the model called `name` alone, as `load_student` gives it; of a folder's weights nothing is
    read, nor need they be there. Raises as `load_student` does."""
    folder = Path(name).expanduser() if name else Path()
    if not name or not folder.is_dir():
        folder = student_folder(name)
    return _tokenizer(folder, dict(read_json(folder / "config.json", "model configuration")), name or STUDENT)


def base_fingerprint(student: Student) -> dict[str, Any]:
    """What an adapter writes into duomem.json of its base: architecture and tokenizer, by which another base is
    refused, and the weights, another of which are warned of."""
    return _fingerprint(student.config, student.tokenizer, student.identity)


def fingerprint_on_disk(name: str | None = None) -> dict[str, Any]:
    """`base_fingerprint` of the model called `name`, whose weights need not be loaded for it. A model of the Hub's is
    not fetched. Raises as `load_student` does."""
    found = locate(name or STUDENT, fetch=False)
    folder = _folder(found, None)
    config = dict(read_json(folder / "config.json", "model configuration"))
    return _fingerprint(config, _tokenizer(folder, config, found.name), found.identity)


def _fingerprint(config: dict[str, Any], tokenizer: Any, identity: str) -> dict[str, Any]:
    inner = {**config, **config.get("text_config", {})}
    vocabulary = sorted(tokenizer.get_vocab().items())
    probe = list(tokenizer.encode(PROBE, add_special_tokens=False))
    return {
        "model_type": config.get("model_type"),
        **{key: inner.get(key) for key in ("hidden_size", "num_hidden_layers", "vocab_size")},
        "tokenizer": digest([vocabulary, probe]),
        "weights": identity,
    }


def adapter_mismatch(student: Student, adapter: Path) -> str | None:
    """Why the adapter is not for this base, as the middle of a sentence ("hidden_size is 576, the model's is 896");
    None when it is, or when the adapter does not say. Raises as `add_adapter` does for an adapter that is no whole
    one."""
    adapters.check_files(adapter)
    return adapters.mismatch(adapter, base_fingerprint(student))


def add_adapter(student: Student, adapter: Path) -> Student:
    """The student with the adapter's layers in its model (changed in place; spent where this fails).

    Raises UsageError when there is no adapter there or it is for another base, DuomemError when it is torn or its
    tensors do not fit.
    """
    adapters.check_files(adapter)
    fingerprint = base_fingerprint(student)
    if reason := adapters.mismatch(adapter, fingerprint):
        raise UsageError(
            f"The adapter {adapter} was trained for another base than {student.name}: {reason}.",
            "Name its base with --model, or another adapter.",
        )
    adapters.apply(student.model, adapter, student.dtype)
    warnings = student.warnings
    if adapters.other_weights(adapter, fingerprint):
        line = f"The adapter {adapter} was trained on other weights of the same base; it may do a little worse."
        warnings = (*warnings, line)
    return replace(
        student,
        adapter=adapter,
        adapter_identity=adapters.identity(adapter),
        adapter_record=adapters.record(adapter),
        warnings=warnings,
    )


def _folder(found: Located, dtype: str | None) -> Path:
    if found.kind == "folder":
        return found.path
    dtype = dtype or default_dtype()
    return gguf.repacked(found.path, found.identity, home() / "models" / f"{found.name}-{dtype}", dtype)


def unknown_kind(config: dict[str, Any]) -> str | None:
    """Why mlx-lm has no code for a model of this configuration; None where it has."""
    from mlx_lm.utils import _get_classes

    try:
        _get_classes(config)
    except (ValueError, KeyError, ImportError) as error:
        return _first_line(error)
    return None


def read_model(folder: Path, name: str) -> tuple[Any, dict[str, Any]]:
    """The model in `folder` and its configuration; the weights are read from disk when they are first needed. Raises
    DuomemError, with `name`, for what mlx-lm cannot open."""
    from mlx_lm.utils import load_model

    try:
        model, config = load_model(folder, lazy=True)
    except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
        raise DuomemError(
            f"The model {name} cannot be loaded from {folder}: {_first_line(error)}.",
            "Fetch or convert it again; `duomem-mlx models list` says what is known to work.",
        ) from None
    return model, dict(config)


_TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"  # a warning of transformers', told once


def _tokenizer(folder: Path, config: dict[str, Any], name: str) -> Any:
    from mlx_lm.utils import load_tokenizer

    try:
        tokenizer = load_tokenizer(folder, eos_token_ids=config.get("eos_token_id"))
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, ImportError) as error:
        raise DuomemError(
            f"The tokenizer of {name} cannot be loaded from {folder}: {_first_line(error)}.", "Fetch it again."
        ) from None
    _mend_splitting(tokenizer, folder)
    tokenizer.deprecation_warnings[_TOO_LONG] = True  # prompts are measured here, and their lengths minded
    return tokenizer


def _mend_splitting(tokenizer: Any, folder: Path) -> None:
    """For the class GPT2Tokenizer transformers 5 builds GPT-2's own splitting, whatever tokenizer.json says; the Hub's
    SmolLM2 is of that class and was trained with every digit apart."""
    settings, file = folder / "tokenizer_config.json", folder / "tokenizer.json"
    if not (settings.is_file() and file.is_file()):
        return
    if json.loads(settings.read_text(encoding="utf-8")).get("tokenizer_class") == "GPT2Tokenizer":
        from tokenizers import Tokenizer

        tokenizer.backend_tokenizer.pre_tokenizer = Tokenizer.from_file(str(file)).pre_tokenizer


def stored_dtype(model: Any) -> str:
    """The type most of the model's floating numbers have."""
    sizes: dict[str, int] = {}
    for _, array in tree_flatten(model.parameters()):
        if mx.issubdtype(array.dtype, mx.floating):
            name = str(array.dtype).removeprefix("mlx.core.")
            sizes[name] = sizes.get(name, 0) + array.size
    return max(sizes, key=lambda name: sizes[name], default="float32")


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
