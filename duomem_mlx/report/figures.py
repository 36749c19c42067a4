"""Figures as a person reads them in a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from duomem_mlx.evaluation.results import interval
from duomem_mlx.report.contents import NONE


def model_name(header: Mapping[str, Any]) -> str:
    """For a person; of a folder its own name, not where it lies."""
    name = str(header.get("model"))
    return Path(name).name if name.startswith(("/", ".", "~")) else name


def rate(success: float, bounds: tuple[float, float]) -> str:
    """25.0% [7.1–59.1]"""
    return f"{success:.1%} [{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}]"


def rate_of(figures: Mapping[str, Any]) -> str:
    return rate(figures["success"], interval(figures))


def number(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def difference_cells(pair: Mapping[str, Any]) -> list[str]:
    """Games, those of each alone, the difference in points with its interval, p; of what `compared` gave."""
    low, high = pair["difference95"]
    counts = [str(pair[key]) for key in ("games", "first_only", "second_only")]
    return [*counts, f"{100 * pair['difference']:+.1f} [{100 * low:+.1f} to {100 * high:+.1f}]", f"{pair['p']:.2g}"]


def score_cells(pair: Mapping[str, Any]) -> list[str]:
    """The difference of mean scores with its interval; nothing where games are won or lost and no more."""
    if "score_difference" not in pair:
        return []
    low, high = pair["score_difference95"]
    return [f"{pair['score_difference']:+.2f} [{low:+.2f} to {high:+.2f}]"]
