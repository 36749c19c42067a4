"""The plots of a report, as SVG in a page: its colours are the page's own, its ids clash with no other's."""

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from duomem_mlx.errors import DuomemError
from duomem_mlx.evaluation.results import interval, interval_of_type
from duomem_mlx.report import paper
from duomem_mlx.report.contents import Plot
from duomem_mlx.report.reading import Results, tokens_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 5.0  # inches; a phone shows them a little smaller, a big screen half as large again
INK, FAINT = "#010101", "#020202"
COLOURS = ("#030301", "#030302", "#030303", "#030304", "#030305", "#030306")  # stand for --c1 to --c6 of the page
MARKERS = ("o", "s", "^", "D", "v", "P")
IN_PAGE = {INK: "var(--ink)", FAINT: "var(--line)"} | {c: f"var(--c{i})" for i, c in enumerate(COLOURS, 1)}
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "duomem-mlx",
    "text.parse_math": False,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "font.sans-serif": ["DejaVu Sans"],
}
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
LINE = 18  # characters of a label, of which there are two lines at most


def check_installed() -> None:
    """Raise DuomemError where what draws and writes the page is missing."""
    for module in ("matplotlib", "jinja2"):
        try:
            __import__(module)
        except ImportError:
            raise DuomemError(
                f"A report needs {module}, which is not installed.", "Run `pip install 'duomem-mlx[report]'`."
            ) from None


def arms(results: Results) -> Plot:
    """Success of every arm with its interval, the paper's beside it."""
    labels = list(results.arms)
    theirs = {rung.beside: rung for rung in paper.LADDER if results.environment == paper.ENVIRONMENT}
    with _drawing(0.8 + 0.42 * len(labels)) as (axes, finish):
        for row, label in enumerate(labels):
            figures = results.arms[label]
            _interval(axes, row, figures["success"], interval(figures), COLOURS[0], "o", "here" if row == 0 else None)
        beside = [(row, theirs[label]) for row, label in enumerate(labels) if label in theirs]
        if beside:
            x = [100 * rung.won / paper.GAMES for _, rung in beside]
            y = [row + 0.22 for row, _ in beside]
            axes.plot(x, y, "D", mfc="none", mec=COLOURS[1], ms=7, label="the paper (another student)")
        _rows(axes, labels)
        _percent(axes)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        svg = finish("arms")
    text = "; ".join(_told(label, results.arms[label]) for label in labels)
    return Plot("arms", "Success of every arm, with 95% intervals", f"{text}.", svg)


def by_k(results: Results, curves: Mapping[str, Mapping[int, str]]) -> Plot:
    """Success over the number of memories, a line an arm."""
    told = []
    with _drawing(3.4) as (axes, finish):
        for i, (name, labels) in enumerate(curves.items()):
            figures = [results.arms[label] for label in labels.values()]
            rates = [100 * f["success"] for f in figures]
            bounds = [interval(f) for f in figures]
            low = [max(0.0, r - 100 * b[0]) for r, b in zip(rates, bounds, strict=True)]
            high = [max(0.0, 100 * b[1] - r) for r, b in zip(rates, bounds, strict=True)]
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            at = [k + 0.06 * i for k in labels]
            axes.errorbar(at, rates, [low, high], color=colour, marker=marker, capsize=3, label=name)
            told.append(f"{name}: " + ", ".join(f"{r:.1f}% at k = {k}" for k, r in zip(labels, rates, strict=True)))
        axes.set_xticks(sorted({k for labels in curves.values() for k in labels}))
        axes.set_xlabel("memories in the prompt (k)")
        axes.set_ylabel("success, %")
        axes.set_ylim(-3, 103)
        axes.grid(axis="y")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        svg = finish("k")
    return Plot("k", "Success by number of memories, with 95% intervals", f"{'; '.join(told)}.", svg)


def by_type(results: Results, kinds: Sequence[str]) -> Plot:
    """Success by type of task, the arms of each type below one another, each with the first k."""
    labels = results.main_arms
    told = []
    with _drawing(0.9 + len(kinds) * (0.25 + 0.16 * len(labels))) as (axes, finish):
        for i, label in enumerate(labels):
            at = (i + 0.5) / len(labels) * 0.76 - 0.38
            first = True
            for row, kind in enumerate(kinds):
                won, games = results.arms[label]["by_type"].get(kind, (0, 0))
                if games:
                    style = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
                    bounds = interval_of_type(results.arms[label], kind)
                    _interval(axes, row + at, won / games, bounds, *style, label if first else None, size=5)
                    first = False
        for kind in kinds:
            cells = {label: results.arms[label]["by_type"].get(kind, (0, 0)) for label in labels}
            told.append(f"{kind}: " + ", ".join(f"{label} {won} of {games}" for label, (won, games) in cells.items()))
        for row in range(1, len(kinds)):
            axes.axhline(row - 0.5, color=FAINT, linewidth=0.6)
        _rows(axes, kinds)
        _percent(axes)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, columnspacing=1.2, handletextpad=0.3)
        svg = finish("types")
    return Plot("types", "Success by type of task, with 95% intervals", f"{'; '.join(told)}.", svg)


def steps(results: Results) -> Plot:
    """The share of games that were won within a number of steps, by arms with the first k."""
    told = []
    with _drawing(3.2) as (axes, finish):
        for i, label in enumerate(results.main_arms):
            of_arm = results.of_arm(label)
            won = sorted(len(episode.steps) for episode in of_arm if episode.won)
            x = [0, *won, results.max_steps]
            y = [100 * n / len(of_arm) for n in (*range(len(won) + 1), len(won))]
            dashes = ("-", "--", "-.", ":")[i % 4]
            axes.step(x, y, where="post", color=COLOURS[i % len(COLOURS)], linestyle=dashes, label=label)
            half = sum(n <= results.max_steps / 2 for n in won)
            told.append(f"{label} {half} of {len(of_arm)}")
        axes.set_xlim(0, results.max_steps)
        axes.set_ylim(-3, 103)
        axes.set_xlabel("steps")
        axes.set_ylabel("games won by then, %")
        axes.grid(axis="y")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        svg = finish("steps")
    text = f"Won within {results.max_steps // 2} of {results.max_steps} steps: {', '.join(told)}."
    return Plot("steps", "Games won within a number of steps", text, svg)


def tokens(results: Results) -> Plot:
    """Tokens a game: read anew, read from the cache, written."""
    each = {label: tokens_of(results.of_arm(label)) for label in results.episodes}
    names = {"new": "read anew", "cached": "read from cache", "out": "written"}
    labels = list(each)
    told = []
    with _drawing(0.9 + 0.36 * len(labels)) as (axes, finish):
        left = [0.0] * len(labels)
        for i, (key, name) in enumerate(names.items()):
            values = [each[label][key] / results.arms[label]["games"] for label in labels]
            axes.barh(range(len(labels)), values, left=left, color=COLOURS[i], height=0.6, label=name)
            left = [a + b for a, b in zip(left, values, strict=True)]
        for label in labels:
            games = results.arms[label]["games"]
            told.append(f"{label}: " + ", ".join(f"{each[label][k] / games:,.0f} {name}" for k, name in names.items()))
        _rows(axes, labels)
        axes.set_xlabel("tokens a game")
        axes.grid(axis="x")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        svg = finish("tokens")
    return Plot("tokens", "Tokens a game", f"{'; '.join(told)}.", svg)


@contextmanager
def _drawing(height: float) -> Iterator[tuple["Axes", Any]]:
    """Axes to draw on, and what makes them a piece of a page under a name."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that its font lacks; the page has its own
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_axisbelow(True)

        def finish(name: str) -> str:
            file = io.StringIO()
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
            return _for_page(file.getvalue(), name)

        yield axes, finish


def _for_page(svg: str, name: str) -> str:
    """The picture alone, its ids beginning with `name`, its colours the page's."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{XLINK}}}href":
                element.set(key, value.replace("#", f"#{name}-", 1))
            else:
                element.set(key, _in_page(value.replace("url(#", f"url(#{name}-")))
        if element.tag == f"{{{SVG}}}style":
            element.text = ""  # what it says of all lines of the page is said by the page
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("aria-hidden", "true")
    return ElementTree.tostring(root, encoding="unicode")


def _in_page(value: str) -> str:
    value = re.sub(r"#[0-9a-f]{6}", lambda found: IN_PAGE.get(found[0], found[0]), value)
    return re.sub(r"'DejaVu Sans'[^;]*", "inherit", value)


def _interval(
    axes: "Axes",
    y: float,
    rate: float,
    bounds: tuple[float, float],
    colour: str,
    marker: str,
    label: str | None,
    size: int = 7,
) -> None:
    axes.plot([100 * bound for bound in bounds], [y, y], color=colour, linewidth=1.6)
    axes.plot([100 * rate], [y], marker, color=colour, ms=size, label=label)


def _rows(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def _percent(axes: "Axes") -> None:
    axes.set_xlim(-3, 103)
    axes.set_xlabel("success, %")
    axes.grid(axis="x")


def _short(name: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in name).replace("_", " ")
    return "\n".join(textwrap.wrap(shown, LINE, max_lines=2, placeholder="…"))


def _told(label: str, figures: Mapping[str, Any]) -> str:
    low, high = interval(figures)
    return f"{label} {100 * figures['success']:.1f}% ({100 * low:.1f} to {100 * high:.1f})"
