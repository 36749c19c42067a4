"""The sections of a report, from the figures of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Any

from duomem_mlx.evaluation.arms import name_and_k
from duomem_mlx.evaluation.results import interval_of_type, table_columns, table_rows
from duomem_mlx.evaluation.statistics import wilson
from duomem_mlx.report import paper, plots
from duomem_mlx.report.beside import side_by_side
from duomem_mlx.report.contents import NONE, Report, Section, Table
from duomem_mlx.report.figures import difference_cells, model_name, number, rate, rate_of, score_cells
from duomem_mlx.report.footprint import Footprint
from duomem_mlx.report.reading import Results, tokens_of

WHAT = {
    "base": "the student as it is",
    "own-memories": "with memories of its own successes",
    "memories": "with the teacher's memories",
    "random-memories": "with memories drawn at random, the control",
    "adapter": "with the adapter",
    "adapter-own-memories": "with the adapter and memories of its own successes",
    "duomem": "with both",
    "teacher": "what taught it",
}
Arms = Mapping[str, Mapping[str, Any]]  # figures by label, as in summary.json
INTERACTION = "interaction"
PAIRED = (
    "The same games, two arms: those that one of them alone won decide. p is exact McNemar's, not corrected for how "
    "many comparisons there are; the difference is the second's success less the first's, with its 95% interval."
)


def report_of(results: Results, footprint: Footprint, others: Sequence[Results] = ()) -> Report:
    """`others` are evaluations that stand beside this one."""
    header = results.header
    split, model = split_of(header), model_name(header)
    seeded = " An arm of several training seeds stands with the mean over them." if _seeded(results.arms) else ""
    text = [
        f"{len(results.games)} games of {split}, at most {results.max_steps} actions each, played by {model} in "
        f"{len(results.arms)} arms. Intervals are 95% Wilson intervals.{seeded}"
    ]
    if left := results.unfinished:
        told = ", ".join(f"{label} ({count} left)" for label, count in left.items())
        text.append(
            f"Careful: this evaluation is not finished: {told}. Each arm stands for the games that it has played, and "
            "games that are won quickly end first, so the figures of these arms are too high."
        )
    beside = [side_by_side([results, *others])] if others else []
    sections = [*beside, _arms(results), seeds(results.arms), _ladder(results), _by_k(results), _by_type(results)]
    sections += [_steps(results), _time(results), on_disk(footprint), _paired(results), causes(results.arms)]
    sections.append(_made(results))
    return Report(f"Evaluation of {model} on {split}", tuple(text), tuple(s for s in sections if s is not None))


def what_is(label: str, default_k: int) -> str:
    name, k = name_and_k(label, default_k)
    return f"{WHAT.get(name, '')}{'' if name == label else f', k = {k}'}"


def split_of(header: Mapping[str, Any]) -> str:
    return str(header.get("split", header.get("games")))


def _arms(results: Results) -> Section:
    found = {"arms": results.arms}
    rows = [(*row, what_is(row[0], results.k)) for row in table_rows(found)]
    columns = (*table_columns(found), "what it is")
    note = (
        f"In the mean of steps a game that was not won counts {results.max_steps}. Seconds and tokens are means a "
        "game; “better than base” holds where p of exact McNemar's test on the same games is below 0.05."
    )
    table = Table("Success of every arm", columns, tuple(rows))
    return Section("arms", "Arms", (note,), (table,), (plots.arms(results),))


def _seeded(arms: Arms) -> dict[str, Mapping[str, Any]]:
    """The arms of several training seeds."""
    return {label: figures for label, figures in arms.items() if "seeds" in figures}


def seeds(arms: Arms) -> Section | None:
    rows = []
    for label, figures in _seeded(arms).items():
        each = {seed: one["success"] for seed, one in figures["seeds"].items()}
        cells = [f"{len(each)}: {', '.join(each)}", f"{fmean(each.values()):.1%}", f"{100 * figures['seeds_sd']:.1f}"]
        cells += [f"{100 * min(each.values()):.1f}–{100 * max(each.values()):.1f}"]
        low, high = figures["seeds95"]
        rows.append((label, *cells, f"[{100 * low:.1f}–{100 * high:.1f}]", rate_of(figures).partition(" ")[2]))
    if not rows:
        return None
    text = (
        "An adapter was trained with each seed, and each played all games. Two things are left to chance, and each has "
        "its interval of the mean: of other trainings (Student's t over the seeds, these games), and of other games "
        "(Wilson's, these adapters; plays of one game are clustered, so that it counts for less than its plays). "
        "In paired comparisons a game counts by the share of the seeds that won it."
    )
    columns = ("arm", "seeds", "mean", "standard deviation", "from, to", "95%, other trainings", "95%, other games")
    return Section("seeds", "Training seeds", (text,), (Table("Spread over training seeds, %", columns, tuple(rows)),))


def _ladder(results: Results) -> Section | None:
    if results.environment != paper.ENVIRONMENT:
        return None
    rows = []
    for rung in paper.LADDER:
        ours = results.arms.get(rung.beside or "")
        here = (NONE, NONE) if ours is None else (f"{ours['won']}/{ours['games']}", rate_of(ours))
        theirs = f"{rung.won}/{paper.GAMES}", rate(rung.won / paper.GAMES, wilson(rung.won, paper.GAMES))
        rows.append((rung.name, *theirs, (rung.beside or NONE) if ours else NONE, *here))
    columns = ("the paper's arm", "paper: won", "paper: success [95%]", "arm here", "here: won", "here: success [95%]")
    text = [paper.DIFFERS]
    if not (split_of(results.header).startswith("valid_seen") and len(results.games) == paper.GAMES):
        text.append(
            f"The games here are others than the paper's ({len(results.games)} of {split_of(results.header)}), so "
            "nothing follows from a higher or lower figure."
        )
    return Section(
        "paper", "Beside the paper", tuple(text), (Table(f"The ladder of {paper.SOURCE}", columns, tuple(rows)),)
    )


def _by_k(results: Results) -> Section:
    curves = results.by_k
    if not curves:
        text = "All arms here were played with one number of memories; “evaluate --k 0,1,2,4,10” plays more."
        return Section("k", "By number of memories (k)", (text,))
    table = k_table(results.arms, curves)
    text = "Where an arm was not played with k = 0, what it is without memories (base, adapter) stands there."
    return Section("k", "By number of memories (k)", (text,), (table,), (plots.by_k(results, curves),))


def k_table(arms: Arms, curves: Mapping[str, Mapping[int, str]]) -> Table:
    """`curves` are what `reading.curves_of` gives."""
    ks = sorted({k for labels in curves.values() for k in labels})
    rows = []
    for name, labels in curves.items():
        cells = [arms[labels[k]] if k in labels else None for k in ks]
        rows.append((name, *(NONE if cell is None else rate_of(cell) for cell in cells)))
    return Table("Success by number of memories [95%]", ("arm", *(f"k = {k}" for k in ks)), tuple(rows))


def _by_type(results: Results) -> Section | None:
    section = types(results.arms)
    return section and replace(section, plots=(plots.by_type(results, kinds_of(results.arms)),))


def types(arms: Arms) -> Section | None:
    if (kinds := kinds_of(arms)) in ([], [""]):
        return None
    rows = tuple((spelt(kind), *(_of_type(figures, kind) for figures in arms.values())) for kind in kinds)
    text = ("Where an arm has several seeds a game counts once in these intervals.",) if _seeded(arms) else ()
    table = Table("Games won by type of task [95%]", ("type", *arms), rows)
    return Section("types", "By type of task", text, (table,))


def kinds_of(arms: Arms) -> list[str]:
    """The types of task that any arm played, in the alphabet's order."""
    return sorted({kind for figures in arms.values() for kind in figures["by_type"]})


def _of_type(figures: Mapping[str, Any], kind: str) -> str:
    won, games = figures["by_type"].get(kind, (0, 0))
    return f"{won}/{games} {rate(won / games, interval_of_type(figures, kind))}" if games else NONE


def _steps(results: Results) -> Section:
    flags = sorted({flag for figures in results.arms.values() for flag in figures["flags"]})
    rows = []
    for label, figures in results.arms.items():
        won = [len(e.steps) for e in results.of_arm(label) if e.won]
        cells = [number(figures["steps_mean"]), number(figures["steps_mean_won"])]
        cells += [number(median(won) if won else None), f"{figures['answers']:,}"]
        rows.append((label, *cells, *(f"{figures['flags'].get(flag, 0):,}" for flag in flags)))
    columns = ("arm", "mean", "mean of games won", "median of games won", "answers", *map(spelt, flags))
    text = (
        f"In the mean a game that was not won counts {results.max_steps}. Of the answers, how many the world refused, "
        "went round in a loop, or held no action."
        if flags
        else f"In the mean a game that was not won counts {results.max_steps}."
    )
    table = Table("Steps a game, and what was wrong in them", columns, tuple(rows))
    return Section("steps", "Steps", (text,), (table,), (plots.steps(results),))


def _time(results: Results) -> Section:
    rows = []
    for label, figures in results.arms.items():
        tokens = tokens_of(results.of_arm(label))
        answers, games = figures["answers"], figures["games"]
        each = None if not answers else figures["seconds_per_game"] * games / answers
        read = tokens["new"] + tokens["cached"]
        counted = bool(tokens["out"])
        cells = [number(figures["seconds_per_game"], 2), number(each, 2)]
        cells += [number(tokens[name] / games if counted else None, 0) for name in ("new", "cached", "out")]
        rows.append((label, *cells, f"{tokens['cached'] / read:.0%}" if counted and read else NONE))
    columns = ("arm", "s a game", "s an answer", "read anew", "read from cache", "written", "share cached")
    text = (
        "Seconds are those that the student's answers took, tokens a game: read anew (the prompt, and what the world "
        "said since), read out of the carried cache, and written. Games that are played together share the machine, so "
        "that the seconds of one game are no measure of a game played alone."
    )
    table = Table("Seconds and tokens, means a game", columns, tuple(rows))
    return Section("time", "Where the time goes", (text,), (table,), (plots.tokens(results),))


def on_disk(found: Footprint) -> Section | None:
    sizes = (
        ("base model", found.base_bytes, None),
        ("adapter", found.adapter_bytes, found.adapter_parameters and f"{found.adapter_parameters:,} parameters"),
        ("memories", found.bank_bytes, found.bank_memories and f"{found.bank_memories:,} memories"),
        ("own memories", found.own_bank_bytes, found.own_bank_memories and f"{found.own_bank_memories:,} memories"),
    )
    rows = [(name, f"{size:,}", f"{size / 1e6:,.2f}", str(more or NONE)) for name, size, more in sizes if size]
    if not rows:
        return None
    text = "Of the very files that were evaluated, known by their hashes; what is not on this machine is left out."
    table = Table("What lies on disk", ("what", "bytes", "MB", "holds"), tuple(rows))
    return Section("footprint", "Footprint", (text,), (table,))


def _paired(results: Results) -> Section | None:
    table = paired_table(results.paired)
    if table is None:
        return None
    return Section("paired", "Paired comparisons", (PAIRED, *interaction(results.paired)), (table,))


def paired_table(paired: Mapping[str, Mapping[str, Any]]) -> Table | None:
    rows = []
    for name, found in paired.items():
        if name != INTERACTION:
            rows.append((*name.split(" against ", 1), *difference_cells(found), *score_cells(found)))
    if not rows:
        return None
    columns = ["first", "second", "games", "first alone won", "second alone won", "difference, points [95%]", "p"]
    columns += ["difference of mean score [95%]"] if len(rows[0]) > len(columns) else []
    return Table("Arms on the same games", tuple(columns), tuple(rows))


def interaction(paired: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What is said of both axes together; nothing where their four arms were not all played."""
    if (found := paired.get(INTERACTION)) is None:
        return ()
    low, high = found["value95"]
    return (
        f"Both axes together give {100 * found['value']:+.1f} points [{100 * low:+.1f} to {100 * high:+.1f}] "
        f"beyond the sum of what each gives alone, on the {found['games']} games that all four arms played.",
    )


def causes(arms: Arms) -> Section | None:
    titles = {
        "causes": "Games not won, by the first thing that was missing",
        "manners": "Games not won, by the manner of it",
    }
    tables = []
    for key, title in titles.items():
        names: dict[str, int] = {}
        for figures in arms.values():
            for name, count in figures[key].items():
                names[name] = names.get(name, 0) + count
        if names:
            order = sorted(names, key=lambda name: (-names[name], name))
            rows = tuple((name, *(str(f[key].get(name, 0)) for f in arms.values())) for name in order)
            tables.append(Table(title, ("why", *arms), rows))
    text = (
        "The first table is the world's own word, the second what all worlds share: a manner is named where half of a "
        "game's answers were flagged with it, else how the game ended."
    )
    return Section("causes", "Why games were not won", (text,), tuple(tables)) if tables else None


def _made(results: Results) -> Section:
    header = results.header
    machine = header.get("machine")
    shown: dict[str, Any] = {"model": model_name(header)}
    shown |= {name: value for name, value in header.items() if name not in ("model", "machine")}
    shown |= {f"machine: {name}": value for name, value in machine.items()} if isinstance(machine, dict) else {}
    created = sorted(e.created[:10] for label in results.arms for e in results.of_arm(label))
    shown["played"] = created[0] if created[0] == created[-1] else f"{created[0]} to {created[-1]}"
    rows = tuple((spelt(name), NONE if value is None else str(value)) for name, value in shown.items())
    return Section("made", "How it was made", (), (Table("Settings and machine", ("what", "value"), rows),))


def spelt(name: str) -> str:
    return name.replace("_", " ")
