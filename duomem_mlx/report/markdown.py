"""A report as Markdown: text and tables, for a pull request or a model card."""

import re
import unicodedata
from collections.abc import Sequence

from duomem_mlx.report.contents import Report, Section, Table

MARK = "<!-- made by duomem-mlx report -->"


def markdown(report: Report) -> str:
    parts = [MARK, f"# {plain(report.title)}", *map(plain, report.text)]
    return "\n\n".join([*parts, *map(section_text, report.sections)]) + "\n"


def section_text(section: Section) -> str:
    parts = [f"## {plain(section.title)}", *map(plain, section.text)]
    for table in section.tables:
        parts += [f"**{plain(table.caption)}**", _table(table)]
    return "\n\n".join(parts)


def plain(text: str) -> str:
    """Text of unknown origin on one line, in which nothing is markup."""
    line = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text).strip()
    return re.sub(r"([\\`*_\[\]<>|#&~!])", r"\\\1", line)


def _table(table: Table) -> str:
    numeric = [all(_numeric(row[i]) for row in table.rows) for i in range(len(table.columns))]
    rule = ["--:" if right else "---" for right in numeric]
    rows = [[plain(cell) for cell in row] for row in (table.columns, *table.rows)]
    return "\n".join(_row(cells) for cells in (rows[0], rule, *rows[1:]))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _numeric(text: str) -> bool:
    return bool(re.match(r"[-+]?\d|–$", text))
