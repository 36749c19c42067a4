"""docs/results.md out of what is kept of each measurement. A section whose figures are not there is not there."""

from collections.abc import Iterator, Mapping
from typing import Any

from results_missing import COMMANDS, fenced, missing, nothing_to_remember

from duomem_mlx.evaluation.arms import ARMS, TEACHER, name_and_k
from duomem_mlx.evaluation.results import table_columns, table_rows
from duomem_mlx.evaluation.statistics import wilson
from duomem_mlx.report import paper, sections
from duomem_mlx.report.beside import weights_of
from duomem_mlx.report.contents import NONE, Section, Table
from duomem_mlx.report.figures import difference_cells, number, rate
from duomem_mlx.report.footprint import Footprint
from duomem_mlx.report.markdown import section_text
from duomem_mlx.report.reading import curves_of

Kept = Mapping[str, Any]  # measurement -> its JSON
HEAD = """# Results

Made by `python scripts/make_results.py` from the files in [results](results), one a measurement, each the summary of an
evaluation, under the commands that make it. How many games were played together may have been another number, and
stands with the figures; folders may have had other names, and the hashes in these files tell what was measured.
[log.md](log.md) says how each came about, what else was tried (on-policy rounds, lessons on what was lost) and every
look at the games that measure."""
ASKED = {
    "base against memories": "do memories help the untrained student?",
    "memories against random-memories": "does it matter which memories?",
    "own-memories against memories": "does it matter whose they are?",
    "base against adapter": "does training help?",
    "adapter against duomem": "do memories help the trained student?",
    "memories against duomem": "does training help beside memories?",
    "adapter-own-memories against duomem": "does it matter whose they are, after training?",
    "duomem against teacher": "what is left to the teacher?",
}
# what differs, beside the arms: what it is here and what it is in the paper
DIFFERS = (
    ("student", "SmolLM2-135M-Instruct, 4-bit weights dequantized", "Qwen3-4B"),
    ("teacher", "a search program that knows the rules of the games; no language model", "Qwen2.5-72B"),
    ("its tries at a training game", "one", "several, up to five"),
    ("prompt", "a short running text, actions alone", "instructions, a reference trajectory, thoughts and actions"),
    ("what finds memories", "a local encoder, all-MiniLM-L6-v2", "a cloud encoder"),
    ("intervals", "Wilson's", "none are given; here computed from its games won"),
)


def page(kept: Kept) -> str:
    found = []
    for name, make in SECTIONS.items():
        parts = [section_text(section) for section in make(kept)]
        if parts and name in COMMANDS:
            title, rest = parts[0].split("\n\n", 1)
            parts[0] = "\n\n".join([title, fenced(COMMANDS[name][1]), rest])
        found += parts
    return "\n\n".join([HEAD, *found, missing(kept)]) + "\n"


def ladder(kept: Kept) -> Iterator[Section]:
    if (of := kept.get("valid_seen")) is None:
        return
    rungs = {rung.beside: rung for rung in paper.LADDER}
    rows = []
    for label, won, success, *rest in table_rows({"arms": of["arms"]}):
        what = sections.what_is(label, of["k"])
        rows.append((label, what, won, success, rest[0], rest[-1], *cells_of_paper(rungs.pop(label, None))))
    for label, rung in rungs.items():
        rows.append((str(label), not_played(str(label), kept), *[NONE] * 4, *cells_of_paper(rung)))
    order = [*ARMS, TEACHER]
    rows.sort(key=lambda row: order.index(name_and_k(row[0].partition(",")[0], of["k"])[0]))
    rows += [(f"differs: {what}", here, "", "", "", "", "", theirs) for what, here, theirs in differing(of)]
    columns = ("arm", "what it is", "won", "success [95%]", "mean steps", "better than base", "paper: won")
    table = Table("The ladder, and the paper's beside it", (*columns, "paper: success [95%]"), tuple(rows))
    text = (
        f"{of['games']} games of ALFWorld's {of['split']}, at most {of['max_steps']} actions each, one attempt, "
        f"greedy, free generation from observations alone; {of['k']} memories where there are any. Beside "
        f"it the same in {paper.SOURCE}, of its 4B student. In the mean of steps a game that was not won counts "
        f"{of['max_steps']}; better than base: exact McNemar's on the same games. {measured_on(of)}"
    )
    yield Section("ladder", "The ladder", (text, *silence(of)), (table,))
    rows = [
        (asks, *name.split(" against "), *difference_cells(of["paired"][name]))
        for name, asks in ASKED.items()
        if name in of["paired"]
    ]
    columns = ("asked", "first", "second", "games", "first alone won", "second alone won", "difference, points [95%]")
    table = Table("Arms on the same games", (*columns, "p"), tuple(rows))
    yield Section("paired", "What each axis gives", (sections.PAIRED, *sections.interaction(of["paired"])), (table,))
    if (by_type := sections.types(of["arms"])) is not None:
        yield by_type
    if (why := sections.causes(of["arms"])) is not None:
        yield why


def not_played(label: str, kept: Kept) -> str:
    """What an arm is that was not played, and why it cannot be where that is known."""
    what = sections.what_is(label, 0)
    if label == "own-memories" and nothing_to_remember(kept):
        own = kept["own"]["arms"]["base"]
        return f"{what}: it won none of {own['games']} {kept['own']['split']} games, and has none, so this is base"
    return f"{what}: not played"


def cells_of_paper(rung: paper.Rung | None) -> tuple[str, str]:
    if rung is None:
        return NONE, NONE
    return f"{rung.won}/{paper.GAMES}", rate(rung.won / paper.GAMES, wilson(rung.won, paper.GAMES))


def differing(of: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for what, here, theirs in DIFFERS:
        yield what, f"{here} ({parameters(of):,} parameters)" if what == "student" else here, theirs
    yield "steps a game at most", str(of["max_steps"]), "30, as far as can be told"
    if (size := of["footprint"].get("adapter_parameters")) is not None:
        yield "adapter", f"{size:,} parameters", "5.9 million parameters"


def silence(of: Mapping[str, Any]) -> Iterator[str]:
    base = of["arms"].get("base", {"flags": {}})
    if said := base["flags"].get("no_action"):
        yield (
            f"The untrained student, asked in the same short text as the trained one, said nothing to act on in "
            f"{said:,} of its {base['answers']:,} turns."
        )


def parameters(of: Mapping[str, Any]) -> int:
    """Of a student whose weights are whole."""
    return int(of["model_bytes"]) // (4 if of["dtype"] == "float32" else 2)


def measured_on(of: Mapping[str, Any]) -> str:
    machine = of["machine"]
    return (
        f"Measured on {machine['chip']}, {machine['cores']} cores, {machine['system'].split()[0]}, MLX "
        f"{machine['mlx']} on the {machine['device']}, {weights_of(of)}, {of['batch_size']} games together."
    )


def speed(kept: Kept) -> Iterator[Section]:
    if (of := kept.get("valid_seen")) is None:
        return
    found = sections.on_disk(Footprint(**of["footprint"]))
    rows = []
    for label, figures in of["arms"].items():
        if label == "teacher":
            continue
        tokens, games, turns = figures.get("tokens", {}), figures["games"], figures["answers"]
        cells = [number(turns / games), number(figures["seconds_per_game"], 2)]
        cells += [number(figures["seconds_per_game"] * games / turns, 2), number(figures["tokens_per_game"], 0)]
        rows.append((label, *cells, *(number(tokens.get(name), 0) for name in ("new", "cached", "out"))))
    columns = ("arm", "turns a game", "s a game", "s a turn", "tokens computed a game")
    columns += ("prompt, read anew", "prompt, from the cache", "said")
    if not any("tokens" in figures for figures in of["arms"].values()):
        rows, columns = [row[:5] for row in rows], columns[:5]
    table = Table("Seconds and tokens, beside the same student without DuoMem (base)", columns, tuple(rows))
    text = (
        f"The student has {parameters(of):,} parameters and takes {of['model_bytes']:,} bytes in memory. "
        f"{of['batch_size']} games were played together and shared the machine, so the seconds are what a game costs, "
        "not how long one takes alone; of passes that cores compute at once, each counts."
    )
    there = () if found is None else found.tables
    yield Section("speed", "Footprint and speed", (text, measured_on(of)), (*there, table))


def by_k(kept: Kept) -> Iterator[Section]:
    if (of := kept.get("k")) is None:
        return
    table = sections.k_table(of["arms"], curves_of(of["arms"], of["k"]))
    text = f"One training seed, the first {of['games']} games of {of['split']} in the constant order. {measured_on(of)}"
    yield Section("k", "How many memories", (text,), (table,))


def spread(kept: Kept) -> Iterator[Section]:
    of = kept.get("seeds") or kept.get("valid_seen")
    if of is not None and (section := sections.seeds(of["arms"])) is not None:
        paired = sections.paired_table(of["paired"])
        tables = (*section.tables, *(() if paired is None else (paired,)))
        yield Section("seeds", section.title, (*section.text, measured_on(of)), tables)
        rows = tuple(tuple(row) for row in table_rows({"arms": of["arms"]}) if "seed" in row[0])
        each = Table("Each seed", table_columns({"arms": of["arms"]})[:4], tuple(row[:4] for row in rows))
        yield Section("each", "Each training", (), (each,))


def four_bits(kept: Kept) -> Iterator[Section]:
    if (of := kept.get("four_bits")) is None:
        return
    rows, parted = [], []
    for label, found in of["same"].items():
        for one in of["evaluations"]:
            figures, disk = one["arms"][label], one["footprint"].get("base_bytes")
            cells = [f"{one['model_bytes']:,}", NONE if disk is None else f"{disk:,}"]
            cells += [f"{figures['won']}/{figures['games']}", number(figures["steps_mean"])]
            same = NONE if one is of["evaluations"][0] else f"{found['same']}/{found['games']}"
            rows.append((label, weights_of(one), *cells, number(figures["seconds_per_game"], 2), same))
        parted += [(label, *(str(at[name]) for name in ("game", "turn", "first", "second"))) for at in found["parted"]]
    columns = ("arm", "weights", "bytes in memory", "bytes on disk", "won", "mean steps", "s a game", "same actions")
    tables = [Table("The same student, adapter and games", columns, tuple(rows))]
    if parted:
        names = [weights_of(one) for one in of["evaluations"]]
        tables.append(Table("Where the others part", ("arm", "game", "turn", *names), tuple(parted)))
    text = (
        "A game has the same actions when every one of them is the same. On disk the first is the package's own file, "
        "in blocks of 4 bits, which become float32 when it is opened; the second keeps these blocks in MLX's form. "
        f"{measured_on(of['evaluations'][1])}"
    )
    yield Section("bits", "In 4 bits", (text,), tuple(tables))


def scienceworld(kept: Kept) -> Iterator[Section]:
    if (of := kept.get("scienceworld")) is None:
        return
    arms = of["arms"]
    text = (
        f"{of['games']} games of ScienceWorld's {of['split']}, at most {of['max_steps']} actions each, with the "
        f'package\'s "easy" simplifications, greedy; {of["k"]} memories where there are any. A score is the '
        f"simulator's, 0 to 1. {measured_on(of)}"
    )
    tables = [Table("Arms", table_columns(of), tuple(tuple(row) for row in table_rows(of)))]
    if (paired := sections.paired_table(of["paired"])) is not None:
        tables.append(paired)
    for more in (sections.types(arms), sections.causes(arms)):
        tables += more.tables if more is not None else ()
    text_of_both = sections.interaction(of["paired"])
    yield Section("scienceworld", "ScienceWorld", (text, *text_of_both, *never_won(arms)), tuple(tables))


def never_won(arms: Mapping[str, Any]) -> tuple[str, ...]:
    """What does not work, said plainly: the types of task of which no arm won a game."""
    never = [
        kind
        for kind in sections.kinds_of(arms)
        if not any(figures["by_type"].get(kind, (0, 0))[0] for figures in arms.values())
    ]
    return (f"What does not work: no arm won a game of {', '.join(never)}.",) if never else ()


def recipes(kept: Kept) -> Iterator[Section]:
    if (of := kept.get("recipes")) is None:
        return
    rows = []
    for name, one in of["recipes"].items():
        cells = [f"{one['trained_steps']:,}", f"{one['trained_tokens']:,}", f"{one['won']}/{one['games']}"]
        cells += [rate(one["won"] / one["games"], one["wilson95"]), number(one["steps_mean"])]
        cells.append(f"{one['refused']:.1%}")
        alone = (NONE,) * 3
        if one["against"] and one["p"] is not None:
            alone = (one["against"], f"{one['alone']} : {one['other_alone']}", f"{one['p']:.2g}")
        rows.append((name, one["what"], *cells, *alone))
    columns = ("recipe", "what it is", "training steps", "tokens", "won", "success [95%]", "mean steps", "refused")
    columns += ("against", "it alone won : that alone won", "p")
    text = (
        f"Each trained on {of['train_games']} training games or as many steps of fewer, and judged on {of['games']} "
        "others, of floor plans that are held out whole, against another recipe on the same games by exact McNemar's; "
        "p is not corrected for how many comparisons there are."
    )
    tables = (Table("One thing changed at a time", columns, tuple(rows)),)
    yield Section("recipes", "What makes a student good", (text,), tables)


SECTIONS = {
    "valid_seen": ladder,
    "speed": speed,  # of the ladder too
    "k": by_k,
    "seeds": spread,
    "four_bits": four_bits,
    "scienceworld": scienceworld,
    "recipes": recipes,
}
