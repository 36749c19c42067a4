"""`duomem-mlx pull`: a bundle from the Hub, checked, to where `--adapter` and `--memories` find it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duomem_mlx.cli import options, output

if TYPE_CHECKING:
    from duomem_mlx.hub.bundle import Head

Repo = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The bundle's repository on the Hub.")]
Revision = Annotated[
    str | None, typer.Option("--revision", metavar="NAME", help="A branch, tag or commit of it [default: the newest].")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where it goes [default: where --adapter OWNER/NAME finds it]."),
]


def pull(
    repo: Repo,
    revision: Revision = None,
    model: options.Model = None,
    out: Out = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Fetch a bundle that `publish` made, and check all of it before it counts.

    Names, sizes, hashes, every memory and every vector; and that its adapter is for --model, by default for the base
    that it names where that is on this machine. Then --adapter OWNER/NAME and --memories OWNER/NAME find it.
    """
    from duomem_mlx.errors import UsageError
    from duomem_mlx.hub import bundle, transfer
    from duomem_mlx.paths import bundle_folder

    transfer.check_repo(repo)
    place = out or bundle_folder(repo)
    if out is not None and (out.is_symlink() or out.exists()) and (out.is_symlink() or not out.is_dir()):
        raise UsageError(f"{out} is there and is no folder.", "Choose another --out.")
    if out is not None and out.is_dir() and any(out.iterdir()) and not (overwrite and bundle.is_bundle(out)):
        fix = "Choose another --out, or add --overwrite." if bundle.is_bundle(out) else "Choose another --out."
        raise UsageError(f"{out} is there already.", fix)
    with bundle.installing(place) as part:
        fetched = transfer.fetch(repo, revision, part)
        notes = [*bundle.check(part, fetched.head), *check_base(part, repo, fetched.head, model)]
    if fetched.left_out:
        more = f" and {len(fetched.left_out) - 5} more" if len(fetched.left_out) > 5 else ""
        notes.append(f"Left where it is, since no bundle has it: {', '.join(fetched.left_out[:5])}{more}.")
    for note in notes:
        output.say(note)
    size = sum(file.bytes for file in fetched.head.files.values())
    named = {
        "--model": model or default_model(fetched.head.base),
        "--adapter": repo if out is None else out,
        "--memories": (repo if out is None else out / bundle.MEMORIES) if fetched.head.has_memories else "none",
    }
    if json:
        record = {"repo": repo, "commit": fetched.commit, "base": fetched.head.base, "path": str(place), "bytes": size}
        output.result({**record, "memories": fetched.head.has_memories, "notes": notes})
        return
    output.line(f"{repo} {fetched.commit[:12]}: {len(fetched.head.files)} files, {size / 1e6:.1f} MB, in {place}.")
    output.hint(output.call("run", named=named))


def check_base(folder: Path, repo: str, head: "Head", model: str | None) -> list[str]:
    """Lines a person should see of the model that the adapter is meant for. Raises UsageError when it is another's."""
    from duomem_mlx.errors import DuomemError, UsageError
    from duomem_mlx.student import adapters
    from duomem_mlx.student.models import fingerprint_on_disk

    name = model or default_model(head.base) or None
    try:
        fingerprint = fingerprint_on_disk(name)
    except DuomemError:
        if model is not None:
            raise
        return [f"Its base {head.base} is not on this machine; whether they fit is looked at when it is used."]
    if reason := adapters.mismatch(folder, fingerprint):
        raise UsageError(
            f"The adapter of {repo} was trained for another base than {name or 'the default student'}: {reason}.",
            "Name its base with --model." if model else "Nothing was installed; ask who published it.",
        )
    if adapters.other_weights(folder, fingerprint):
        return ["It was trained on other weights of the same base; it may do a little worse."]
    return []


def default_model(base: str) -> str | None:
    """What --model takes for a base of the Hub's; None for the default student, which needs no naming."""
    from duomem_mlx.models_on_disk import KNOWN, STUDENT

    return None if base == KNOWN[STUDENT].hub else base
