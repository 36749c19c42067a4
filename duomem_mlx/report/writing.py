"""Writing a report of a results folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem_mlx.errors import UsageError
from duomem_mlx.evaluation.causes import Cause
from duomem_mlx.paths import write_text
from duomem_mlx.report import markdown, page
from duomem_mlx.report.episodes import viewer_data
from duomem_mlx.report.footprint import adapter_at_hand, bank_at_hand, footprint
from duomem_mlx.report.plots import check_installed
from duomem_mlx.report.reading import read_results, read_run
from duomem_mlx.report.sections import report_of

HTML, MARKDOWN = "report.html", "report.md"
SEEN = 400  # characters at the start of a file that say whose it is


@dataclass(frozen=True)
class Written:
    html: Path
    markdown: Path
    games: int
    episodes: int
    unfinished: dict[str, int]  # games left by arm


def write_report(
    results_folder: Path,
    out: Path | None = None,
    cause: Cause | None = None,
    adapter: Path | None = None,
    bank: Path | None = None,
    own_bank: Path | None = None,
    beside: Sequence[Path] = (),
) -> Written:
    """Write both files into `out`, by default beside the results. `adapter`, `bank` and `own_bank` say where what was
    evaluated lies; without them the shipped ones are looked at. `beside` are other evaluations' folders, to be compared
    with it.

    Raises UsageError when there are no results or a file of another's is in the way, DuomemError when a file is torn.
    """
    check_installed()
    run = read_run(results_folder)
    adapter = adapter_at_hand(run, adapter)
    bank, own_bank = bank_at_hand(run, bank), bank_at_hand(run, own_bank, "own_memories")
    folder = out or results_folder
    for name, mark in ((HTML, page.MARK), (MARKDOWN, markdown.MARK)):
        if not _ours(folder / name, mark):
            raise UsageError(f"{folder / name} is there and is no report of ours.", "Choose another --out.")
    results = read_results(results_folder, run, cause)
    others = [read_results(other, read_run(other), cause) for other in beside]
    report = report_of(results, footprint(run, adapter, bank, own_bank), others)
    texts = {
        MARKDOWN: markdown.markdown(report),
        HTML: page.page(
            report, viewer_data([results, *others], [folder for folder in (bank, own_bank) if folder], cause)
        ),
    }
    for name, text in texts.items():
        write_text(folder / name, text.encode(errors="replace").decode())  # halves of surrogate pairs
    episodes = sum(len(results.of_arm(label)) for label in results.episodes)
    return Written(folder / HTML, folder / MARKDOWN, len(results.games), episodes, results.unfinished)


def _ours(path: Path, mark: str) -> bool:
    if not path.exists():
        return True
    return path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace")[:SEEN]
