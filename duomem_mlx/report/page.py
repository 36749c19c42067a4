"""A report as one HTML file: nothing is fetched, and what the episodes say is text and never markup."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duomem_mlx.report.contents import Report
from duomem_mlx.report.episodes import packed

TEMPLATES = Path(__file__).parent / "templates"
MARK = '<meta name="generator" content="duomem-mlx report">'


def page(report: Report, viewer: Mapping[str, Any]) -> str:
    """`viewer` is what `viewer_data` gave."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script = (TEMPLATES / "viewer.js").read_text(encoding="utf-8")
    return templates.get_template("page.html").render(
        report=report,
        mark=MARK,
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=packed(viewer),
        viewer=viewer,
    )
