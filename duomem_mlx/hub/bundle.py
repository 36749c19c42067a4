"""A bundle: an adapter, a sealed bank and their card, with `bundle.json` that names every file, its size and its hash.

It may come from anyone. Names are fixed and none leads out of its folder, sizes are limited, nothing in it is code,
and what it holds is checked by the rooms that read it before it counts as a bundle.
"""

import hashlib
import shutil
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from duomem_mlx import __version__
from duomem_mlx.errors import DuomemError, refuse_newer
from duomem_mlx.memory import folders
from duomem_mlx.memory.bank import Bank
from duomem_mlx.models_on_disk import ENCODER
from duomem_mlx.paths import HUB_ID, disk_faults, read_json, replacing_folder, write_json
from duomem_mlx.student import adapters

FORMAT = 1
HEAD, CARD, SUMMARY, MEMORIES = "bundle.json", "README.md", "results/summary.json", "memories"
BANK = tuple(f"{MEMORIES}/{name}" for name in (folders.HEAD, folders.MEMORIES, folders.VECTORS))
ADAPTER = (adapters.CONFIG, adapters.WEIGHTS, adapters.RECORD)
NEEDED = (CARD, *ADAPTER)
MB = 1 << 20

# Every name there may be, and the most bytes of it. A rank-64 adapter on all of a 70B model has 3 GB in float32.
LIMITS = {
    HEAD: MB,
    CARD: MB,
    adapters.CONFIG: MB,
    adapters.RECORD: 4 * MB,
    adapters.WEIGHTS: 4096 * MB,
    BANK[0]: MB,
    BANK[1]: 256 * MB,
    BANK[2]: 2048 * MB,
    SUMMARY: 16 * MB,
}
TEXTS = tuple(name for name in LIMITS if name.endswith((".json", ".jsonl", ".md")))
_REFUSED = "Nothing was installed; ask who published it, or name another --revision."


@dataclass(frozen=True)
class File:
    """A file as bundle.json has it."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Head:
    """What bundle.json says."""

    base: str  # the base model's id on the Hub
    files: Mapping[str, File]  # every file but bundle.json itself

    @property
    def sealed(self) -> frozenset[str]:
        """What has to be as it was published: all but the card, which people mend on the Hub."""
        return frozenset(self.files) - {CARD}

    @property
    def has_memories(self) -> bool:
        return BANK[0] in self.files


def seal(folder: Path, base: str) -> Head:
    """Write bundle.json for the files that lie in `folder`. Raises DuomemError for one that is larger than readers
    take, or when the disk refuses."""
    files = {}
    for name in sorted(LIMITS):
        if name != HEAD and (path := folder / name).is_file():
            if (size := path.stat().st_size) > LIMITS[name]:
                raise DuomemError(
                    f"{name} has {size:,} bytes, more than the {LIMITS[name]:,} that a bundle may have.",
                    "Publish a smaller one.",
                )
            files[name] = File(size, _sha256(path))
    record = {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in files.items()}
    write_json(folder / HEAD, {"format": FORMAT, "version": __version__, "base": base, "files": record})
    return Head(base, files)


def read_head(path: Path) -> Head:
    """What a bundle.json says. Raises DuomemError when it is of a newer format, or not as one should be."""
    record = read_json(path, "the bundle's head")
    if not isinstance(record, dict):
        raise broken(HEAD, "is not a JSON object")
    version = record.get("format")
    refuse_newer("The bundle", version, FORMAT)
    if version != FORMAT or isinstance(version, bool):
        raise broken(HEAD, "names no format")
    base, files = record.get("base"), record.get("files")
    if not isinstance(base, str) or not HUB_ID.fullmatch(base):
        raise broken(HEAD, "names no base model")
    if not isinstance(files, dict):
        raise broken(HEAD, "lists no files")
    for name, said in files.items():
        if name not in LIMITS or name == HEAD:
            raise broken(HEAD, f"lists {name!r}, which is no file of a bundle")
        size, sha256 = (said.get("bytes"), said.get("sha256")) if isinstance(said, dict) else (None, None)
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= LIMITS[name]:
            raise broken(HEAD, f"gives {name} {size!r} bytes, where up to {LIMITS[name]:,} are taken")
        if not isinstance(sha256, str) or len(sha256) != 64 or set(sha256) - set(string.hexdigits.lower()):
            raise broken(HEAD, f"gives {name} no SHA-256")
    if missing := [name for name in NEEDED if name not in files]:
        raise broken(HEAD, f"lists no {', '.join(missing)}")
    if 0 < sum(name in files for name in BANK) < len(BANK):
        raise broken(HEAD, "lists a bank that is not whole")
    return Head(base, {name: File(said["bytes"], said["sha256"]) for name, said in files.items()})


def check(folder: Path, head: Head) -> list[str]:
    """Check all of a bundle in `folder`, whose bundle.json says `head`. Returns lines that a person should see.

    Raises DuomemError when a file is not the one that is meant, or is not what its place wants.
    """
    notes = []
    for name, said in head.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise broken(name, "is not there as a file")
        if path.stat().st_size == said.bytes and _sha256(path) == said.sha256:
            continue
        if name in head.sealed:
            raise broken(name, "is not the file that bundle.json means: size or SHA-256 is another")
        notes.append("Its card was changed after it was published; nothing here is read from it.")
    adapters.check_files(folder)
    adapters.described_lora(folder)
    if fault := weights_fault(folder / adapters.WEIGHTS):
        raise broken(adapters.WEIGHTS, fault)
    if SUMMARY in head.files and not isinstance(read_json(folder / SUMMARY, "summary of results"), dict):
        raise broken(SUMMARY, "is not a JSON object")
    if head.has_memories:
        notes += _check_bank(folder / MEMORIES)
    return notes


def weights_fault(path: Path) -> str | None:
    """Why a file holds no adapter's weights. safetensors' own reader looks at names, types and places before MLX maps
    anything."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        return f"is no safetensors file ({str(error).splitlines()[0]})"
    others = sorted(name for name in names if name.rpartition(".")[2] not in adapters.LEAVES)
    return f"holds {others[0][:80]!r}, which is no part of a LoRA adapter" if others else None


def _check_bank(folder: Path) -> list[str]:
    """Every memory and vector is checked by opening the bank; then whether it can be searched here."""
    with Bank.open(folder) as bank:
        if bank.encoder_id != ENCODER:
            return [f"Its memories are found with the encoder {bank.encoder_id}, which is not the default one."]
    from duomem_mlx.memory.encoder import load_encoder

    try:
        encoder = load_encoder()
    except DuomemError as error:
        return [f"Whether its memories can be searched here was not checked: {error.what}"]
    Bank.open(folder, encoder).close()
    return []


@contextmanager
def installing(place: Path) -> Iterator[Path]:
    """Yield an empty folder in which a bundle is put together; on success it takes the place of what is at `place`,
    on failure it is removed. Raises DuomemError when the disk refuses."""
    with replacing_folder(place, _is_a_bundles) as part:
        yield part
        with disk_faults(place):
            shutil.rmtree(part / ".cache", ignore_errors=True)  # what the Hub's client notes beside its files


def is_bundle(folder: Path) -> bool:
    """Whether nothing but a bundle lies in `folder`."""
    return (folder / HEAD).is_file() and all(_is_a_bundles(path.name) for path in folder.iterdir())


def _is_a_bundles(name: str) -> bool:
    return name == ".cache" or name in {known.partition("/")[0] for known in LIMITS}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def broken(name: str, why: str) -> DuomemError:
    """What is wrong with a file of a bundle from elsewhere."""
    return DuomemError(f"The bundle is not as it should be: {name} {why}.", _REFUSED)
