"""Putting a bundle together from what lies on this machine, and refusing what must not leave it."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem_mlx.environment import DEFAULT, OWN_TEACHER, origin_of
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.evaluation.arms import shows_bank
from duomem_mlx.hub import bundle
from duomem_mlx.hub.card import About, make_card
from duomem_mlx.hub.leaks import refuse_leaks
from duomem_mlx.memory.bank import Bank
from duomem_mlx.models_on_disk import KNOWN, Known, known_by
from duomem_mlx.paths import HUB_ID, disk_faults, read_json, write_json
from duomem_mlx.student import adapters
from duomem_mlx.student.models import fingerprint_on_disk
from duomem_mlx.trajectory import UNKNOWN_TEACHER

LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
MOST_HEADER_BYTES = 100 << 20  # of a safetensors file, as its own reader has it


@dataclass(frozen=True)
class Said:
    """What a person says of a bundle that its parts do not know."""

    repo: str  # OWNER/NAME
    base: str | None = None  # the base model's id on the Hub
    license: str | None = None  # of the bundle, as the Hub names it
    teacher: str | None = None  # who taught it, with the licence


def assemble(
    folder: Path, adapter: Path, bank: Bank | None, results: Path | None, said: Said, token: str | None
) -> str:
    """Put a bundle into `folder`, which is empty, bundle.json and all. Returns its card.

    Raises UsageError when something that a card has to tell is neither known nor said, or the results are not this
    adapter's and this bank's; DuomemError naming file and line of a path or a key that must not leave (`token` is the
    Hub's), or when the disk refuses.
    """
    adapters.check_files(adapter)
    summary = {} if results is None else _read_results(results, adapter, bank)
    base, known = _base(said.base, summary, adapters.record(adapter))
    record = _copy_adapter(adapter, folder, known.name if known else base)
    if bank is not None:
        bank.export(folder / bundle.MEMORIES)
    if summary:
        write_json(folder / bundle.SUMMARY, {**summary, "model": known.name if known else base})
    license_ = said.license if said.license is not None else known.license if known else None
    if license_ is not None and not LICENSE.fullmatch(license_):
        raise UsageError(f"{license_!r} is no licence as the Hub names one.", "Write apache-2.0, mit or other.")
    if license_ is None:
        raise UsageError(
            f"The licence of {base} is not known here, nor what follows from it for the bundle.",
            "Name the bundle's with --license, as the Hub does: apache-2.0, mit, other.",
        )
    world = _environment(results, bank)
    about = About(
        repo=said.repo,
        base=base,
        base_license=known.license if known else None,
        model=known.name if known else base,
        license=license_,
        teachers=_teachers(said.teacher, adapters.taught_by(adapter), bank, world),
        environment=world,
        origin=origin_of(world),
        adapter=record,
        config=read_json(folder / adapters.CONFIG, "adapter config"),
        sizes={name: (folder / name).stat().st_size for name in bundle.LIMITS if (folder / name).is_file()},
        memories=0 if bank is None else len(bank),
        encoder="" if bank is None else bank.encoder_id,
        results=summary,
    )
    try:
        card = make_card(about)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        of = f"{adapter / adapters.RECORD}{' and these results' if summary else ''}"
        again = "Train, or evaluate, once more." if summary else "Train it once more, or restore that file."
        raise DuomemError(f"No card can be made of {of} ({type(error).__name__}: {error}).", again) from None
    with disk_faults(folder):
        (folder / bundle.CARD).write_text(card, encoding="utf-8")
    bundle.seal(folder, base)
    refuse_leaks(_texts(folder), token)
    return card


def _copy_adapter(adapter: Path, folder: Path, model: str) -> dict[str, Any]:
    """The adapter's files, and what its record says. One of mlx-lm's own trainer has no record: others know its base by
    what `model` is, and of its configuration, which names folders of this machine, only what opens it goes along."""
    adapters.described_lora(adapter)
    if fault := bundle.weights_fault(adapter / adapters.WEIGHTS):
        raise UsageError(f"{adapter / adapters.WEIGHTS} {fault}.", "Publish an adapter of LoRA or DoRA.")
    plain = not (adapter / adapters.RECORD).is_file()
    with disk_faults(folder):
        for name in bundle.ADAPTER:
            if not (plain and name in (adapters.CONFIG, adapters.RECORD)):
                shutil.copyfile(adapter / name, folder / name)
    if plain:
        config = read_json(adapter / adapters.CONFIG, "adapter config")
        write_json(folder / adapters.CONFIG, {key: config[key] for key in adapters.READ if key in config})
        try:
            base = fingerprint_on_disk(model)
        except DuomemError:
            raise UsageError(
                f"{adapter} has no {adapters.RECORD}, and {model}, by which its base would be known, is not on this "
                "machine.",
                f"`hf download {model}`, and publish again.",
            ) from None
        write_json(folder / adapters.RECORD, {"format": 1, "base": base})
    return adapters.record(folder)


def _read_results(results: Path, adapter: Path, bank: Bank | None) -> dict[str, Any]:
    path = results / "summary.json" if results.is_dir() else results
    summary = read_json(path, "summary of results")
    if not isinstance(summary, dict) or summary.get("format") != 1:
        raise DuomemError(f"{path} is no summary of results that this version reads.", "Evaluate once more.")
    of_seeds = [one.get("adapter_hash") for one in summary.get("adapters", {}).values()]
    if adapters.identity(adapter) not in (summary.get("adapter_hash"), *of_seeds):
        raise UsageError(f"The results in {results} are of another adapter.", "Evaluate this one, or leave them out.")
    if shows_bank(summary.get("arms") or ()) and summary.get("memories_hash") != (bank.identity if bank else None):
        raise UsageError(
            f"The results in {results} were made with {'other' if bank else 'some'} memories.",
            "Name the bank of that evaluation with --memories, or leave the results out.",
        )
    return summary


def _base(said: str | None, summary: Mapping[str, Any], record: Mapping[str, Any]) -> tuple[str, Known | None]:
    """The base's id on the Hub, and what is known of it."""
    model = str(summary.get("model", ""))
    base = record.get("base")
    weights = str(base.get("weights", "")) if isinstance(base, dict) else ""
    known = KNOWN.get(model) or known_by(weights)
    if said is None and known is not None:
        return known.hub, known
    id_ = said or model
    if not HUB_ID.fullmatch(id_) or (said is None and Path(id_).exists()):
        raise UsageError("What the adapter's base is called on the Hub is not known.", "Say it: --base OWNER/NAME.")
    return id_, next((other for other in KNOWN.values() if other.hub == id_), None)


def _teachers(said: str | None, of_adapter: Sequence[str], bank: Bank | None, world: str) -> list[str]:
    found = sorted({*of_adapter, *(memory.source.teacher for memory in bank or ())}) if said is None else [said]
    origin = origin_of(world)
    if found == [OWN_TEACHER] and origin is not None and origin.teacher:
        return [origin.teacher]
    if said is not None and not said.strip():
        raise UsageError("--teacher is blank.", "Name who taught it, with the licence.")
    if said not in (None, OWN_TEACHER):
        return [" ".join(said.split())]
    named = [f"{world}'s own teacher" if name == OWN_TEACHER else name for name in found if name != UNKNOWN_TEACHER]
    who = f" Adapter and memories name {', '.join(named[:3])}." if named else ""
    or_search = f", or --teacher {OWN_TEACHER} for its own teacher" if origin is not None and origin.teacher else ""
    raise UsageError(
        f"Who taught the student, and under what licence, is not known.{who}",
        f"Say it: --teacher 'NAME (licence)'{or_search}.",
    )


def _environment(results: Path | None, bank: Bank | None) -> str:
    """The world's name: as the evaluation has it, else as most memories do."""
    config = results / "config.json" if results is not None and results.is_dir() else None
    if config is not None and config.is_file():
        run = read_json(config, "run's config.json").get("run", {})
        if isinstance(name := run.get("env"), str):
            return name
    names = [memory.source.environment for memory in bank] if bank is not None else []
    return max(set(names), key=names.count, default=DEFAULT)


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Everything that can be read in a bundle, the head of the weights too."""
    for name in bundle.TEXTS:
        if (path := folder / name).is_file():
            yield name, path.read_text(encoding="utf-8", errors="replace")
    with (folder / adapters.WEIGHTS).open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        yield adapters.WEIGHTS, file.read(min(size, MOST_HEADER_BYTES)).decode(errors="replace")
