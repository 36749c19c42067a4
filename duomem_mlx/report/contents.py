"""What a report is made of, whatever it is written in."""

from dataclasses import dataclass

NONE = "–"  # where there is no figure


@dataclass(frozen=True)
class Table:
    """Cells are plain text of unknown origin; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Plot:
    """A picture, and in `text` what there is to see in it, for who cannot."""

    name: str  # unique in a report
    title: str
    text: str
    svg: str  # safe to stand in a page


@dataclass(frozen=True)
class Section:
    name: str  # unique in a report
    title: str
    text: tuple[str, ...] = ()  # a paragraph each
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class Report:
    title: str
    text: tuple[str, ...]
    sections: tuple[Section, ...]
