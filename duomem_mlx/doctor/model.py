"""What to know of a model before it is used: where it is, whether it fits, how it wants to be spoken to."""

from pathlib import Path
from typing import Any

from duomem_mlx.doctor.checks import FAIL, OK, WARN, Check, safely
from duomem_mlx.errors import DuomemError, UsageError
from duomem_mlx.models_on_disk import KNOWN, fetch_without_weights, locate, on_hub
from duomem_mlx.paths import read_json

COMPACT_FIX = "Use --prompt-style compact-1."


def examine_model(name: str) -> list[Check]:
    """All checks of the model called `name`: a known name, a folder, a Hub id. Of a Hub model that was not fetched,
    configuration and tokenizer are. Raises nothing."""
    where, folder, stored = _where(name)
    if folder is None:
        return where
    return [
        *where,
        *safely("kind", lambda: _kind(_config(folder))),
        *safely("memory", lambda: _memory(folder, stored)),
        *safely("template", lambda: _template(folder)),
    ]


def _where(name: str) -> tuple[list[Check], Path | None, int | None]:
    """Checks, the folder with configuration and tokenizer, and bytes of weights that are not there."""
    from duomem_mlx.student.models import student_folder

    try:
        found = locate(name, fetch=False)
        return [Check("where", OK, f"{found.source}, {found.path}")], student_folder(name), None
    except UsageError as error:
        return [Check("where", FAIL, error.what, error.fix)], None, None
    except DuomemError as error:
        if name in KNOWN or Path(name).expanduser().is_dir():
            return [Check("where", FAIL, error.what, error.fix)], None, None
    try:
        hub = on_hub(name)
        terms = ", its terms are to be accepted first" if hub.gated else ""
        found_there = f"not fetched; {hub.weights / 1e9:.1f} GB of weights on the Hub{terms}"
        fix = f"Accept them on huggingface.co/{name}, then `hf auth login`." if hub.gated else ""
        where = Check("where", WARN, found_there, fix or "The first command that names it fetches it.")
    except DuomemError as error:
        return [Check("where", FAIL, error.what, error.fix)], None, None
    try:
        return [where], fetch_without_weights(name), hub.weights
    except DuomemError as error:
        return [where, Check("files", FAIL, error.what, error.fix)], None, None


def _config(folder: Path) -> dict[str, Any]:
    return dict(read_json(folder / "config.json", "model configuration"))


def _kind(config: dict[str, Any]) -> Check:
    from duomem_mlx.student.models import unknown_kind

    if reason := unknown_kind(config):
        return Check("kind", FAIL, reason, "Choose a model that mlx-lm knows, or a newer duomem-mlx.")
    return Check("kind", OK, str(config.get("model_type")))


def _memory(folder: Path, stored: int | None) -> Check:
    from duomem_mlx.student.episodes import PlaySettings
    from duomem_mlx.student.footprint import footprint
    from duomem_mlx.student.machine import usable_bytes
    from duomem_mlx.student.models import default_dtype

    takes = footprint(folder, _config(folder), default_dtype(), stored)
    most = PlaySettings().max_context_tokens
    context = min(most, takes.context or most)
    free = usable_bytes()
    packed = f"{takes.bits} bits, " if takes.bits else ""
    cache = "" if takes.a_token is None else f", {takes.a_token / 2**10:.0f} kB a token"
    needed = f"{takes.of_games(1, context) / 2**30:.1f} GB with a game of {context} tokens"
    found = (
        f"{takes.weights / 2**30:.2f} GB of weights ({packed}{takes.dtype}){cache}: {needed}, {free / 2**30:.1f} free"
    )
    width = takes.width(free, context)
    if width == 0:
        fix = "Close other programs." if takes.bits == 4 else "Pack it with `duomem-mlx models convert --bits 4`."
        return Check("memory", FAIL, found, fix)
    return Check("memory", OK, f"{found}; {width} games together")


def _template(folder: Path) -> list[Check]:
    from duomem_mlx.student import template
    from duomem_mlx.student.models import load_tokenizer

    tokenizer = load_tokenizer(str(folder))
    try:
        pieces = template.cut_template(tokenizer)
    except DuomemError as error:
        return [Check("template", WARN, error.what, COMPACT_FIX)]
    role = "a system role" if pieces.system else "no system role (the first question carries that text)"
    checks = [Check("template", OK, f"chat with {role}; earlier turns stay as they are")]
    thinks = template.thinking(tokenizer)
    if thinks is None:
        return [*checks, Check("thinking", OK, "it does not think")]
    if thinks == template.OFF:
        return [*checks, Check("thinking", OK, "it can think; that is turned off here")]
    fix = "Give its answers room with --max-tokens 1024, or choose one that can do without."
    return [
        *checks,
        Check("thinking", WARN, "it thinks before every answer and its template cannot turn that off", fix),
    ]
