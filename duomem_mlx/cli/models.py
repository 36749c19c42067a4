"""`duomem-mlx models`: models that have a name here, and where they lie."""

from pathlib import Path
from typing import Annotated, Any

import typer

from duomem_mlx.cli import options, output

DTYPES = "float32|float16|bfloat16"
Packed = Annotated[str, typer.Argument(metavar="MODEL", help="A Hub id, a folder, or a name that doctor lists.")]
Bits = Annotated[int, typer.Option("--bits", metavar="4|8", help="Bits a weight.")]
GroupSize = Annotated[
    int | None,
    typer.Option(
        "--group-size",
        metavar="32|64|128",
        help="Weights that share a scale [default: 64, or 32 where a layer's width or the model asks for it].",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", metavar=DTYPES, help="Of the scales and all else [default: float32 on a CPU, else half precision]."
    ),
]

HELP = """The models that have a name here, and packing models.

--model takes such a name, the folder of a model in MLX's or the Hub's format, or a Hub id.
"""
app = typer.Typer(help=HELP, rich_markup_mode=None)


@app.callback()
def models() -> None:
    pass


@app.command("list")
def list_models(json: options.Json = False) -> None:
    """List the models with a name here, and where they lie."""
    from duomem_mlx.errors import DuomemError
    from duomem_mlx.models_on_disk import KNOWN, fetch_hint, locate

    found: list[dict[str, Any]] = []
    for known in KNOWN.values():
        entry: dict[str, Any] = {"name": known.name, "role": known.role, "hub": known.hub}
        try:
            located = locate(known.name, fetch=False)
            entry |= {"source": located.source, "path": str(located.path), "bytes": _bytes(located.path)}
        except DuomemError as error:
            entry["fault"] = error.what
        found.append(entry)
    if json:
        output.result({"models": found})
        return
    rows = [
        [
            entry["name"],
            entry["role"],
            f"{entry['bytes'] / 1e6:.0f} MB" if "bytes" in entry else "",
            entry.get("path") or entry["fault"],
        ]
        for entry in found
    ]
    output.table(["name", "role", "size", "where"], rows)
    if any("fault" in entry for entry in found):
        output.say(fetch_hint())


@app.command("convert")
def convert_model(
    model: Packed,
    bits: Bits,
    group_size: GroupSize = None,
    dtype: Dtype = None,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Pack a model in 4 or 8 bits a weight.

    It takes less memory; a CPU plays it slower than the whole model. The folder opens with --model and in mlx-lm, and
    takes the adapters of the whole model as they are.
    """
    from duomem_mlx.cli.fuse import free
    from duomem_mlx.errors import UsageError
    from duomem_mlx.models_on_disk import locate
    from duomem_mlx.paths import digest, read_json
    from duomem_mlx.student import converting
    from duomem_mlx.student.adapters import RECORD, record
    from duomem_mlx.student.agent import usual_style
    from duomem_mlx.student.saving import save_model

    if bits not in (4, 8):
        raise UsageError(f"--bits is {bits}.", "It is 4 or 8.")
    if group_size not in (None, *converting.GROUPS):
        raise UsageError(f"--group-size is {group_size}.", "It is 32, 64 or 128.")
    if dtype not in (None, *DTYPES.split("|")):
        raise UsageError(f"--dtype is {dtype}.", f"It is {', '.join(DTYPES.split('|'))}.")
    located = locate(model)
    made_of = {
        "model": Path(located.name).name if located.kind == "folder" else located.name,
        "model_hash": located.identity,
        "bits": bits,
        "group_size": group_size,
        "dtype": dtype,
    }
    folder = out or Path("runs") / f"convert-{digest(made_of)[:8]}"
    if free(folder, "converted", "models convert", made_of, overwrite):
        with output.progress("Packing layers", None) as advance:
            made = converting.convert(
                located, bits, group_size, dtype, lambda done, total: advance(done, f"of {total}")
            )
        if made.whole:
            told = ", ".join(made.whole[:4]) + (f" and {len(made.whole) - 4} more" if made.whole[4:] else "")
            output.say(f"Not packed, since {made.group} does not divide their width: {told}.")
        kept = record(made.like)
        style = kept.get("prompt_style", usual_style(located.name))
        facts = {**made_of, "packed_in_groups_of": made.group, "scales": made.dtype, "carried_over": made.carried}
        notes = {"format": 1, **kept, "prompt_style": style, "converted": facts}
        save_model(made.weights, made.config, made.like, folder, notes)
    else:
        output.say(f"This is done already; it is in {folder}.")
    facts = read_json(folder / RECORD, "record of what was converted")["converted"]
    size = _bytes(folder)
    if json:
        output.result({"path": str(folder), "bytes": size, **facts})
        return
    if facts["carried_over"]:
        output.say("The model's own 4-bit blocks were carried over, and its 8-bit embedding; nothing was rounded.")
    output.say(
        f"{model} in {bits} bits, a scale in {facts['scales']} for every {facts['packed_in_groups_of']} weights: "
        f"{size / 1e6:.0f} MB in {folder}."
    )
    output.hint(output.call("evaluate", named={"--model": folder, "--limit": 20}))


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
