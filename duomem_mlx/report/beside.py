"""Several evaluations side by side: another model, other bits, another adapter, on the same games."""

from collections.abc import Mapping, Sequence
from typing import Any

from duomem_mlx.evaluation.results import compared, score_cell, scored, verdicts_of
from duomem_mlx.report.contents import NONE, Section, Table
from duomem_mlx.report.figures import difference_cells, model_name, number, rate_of
from duomem_mlx.report.reading import Results, tokens_of

MB = 1e6


def names_of(evaluations: Sequence[Results]) -> list[str]:
    """What each is called: its model and what its weights are, its adapter where that is not the same in all, and its
    folder where they are still not told apart."""
    found = [f"{model_name(one.header)}, {weights_of(one.header)}" for one in evaluations]
    if len({str(one.header.get("adapter")) for one in evaluations}) > 1:
        found = [f"{name}, {one.header.get('adapter')}" for name, one in zip(found, evaluations, strict=True)]
    if len(set(found)) == len(found):
        return found
    named = [f"{one.folder.resolve().name}: {name}" for name, one in zip(found, evaluations, strict=True)]
    return named if len(set(named)) == len(named) else [f"{i}. {name}" for i, name in enumerate(named, 1)]


def weights_of(header: Mapping[str, Any]) -> str:
    """4 bits, float32"""
    bits, dtype = header.get("bits"), header.get("dtype")
    return ", ".join(str(part) for part in (bits and f"{bits} bits", dtype or "type not noted") if part)


def side_by_side(evaluations: Sequence[Results]) -> Section:
    """The first beside each of the others: what they take, how fast they are, and what they win."""
    names = names_of(evaluations)
    first = evaluations[0]
    with_scores = any(scored({"arms": one.arms}) for one in evaluations)
    rows, pairs = [], []
    labels = [label for label in first.arms if any(label in other.arms for other in evaluations[1:])]
    for label in labels:
        for name, one in zip(names, evaluations, strict=True):
            if label in one.arms:
                rows.append((label, name, *_cells(one, label, with_scores)))
        for name, other in zip(names[1:], evaluations[1:], strict=True):
            if label in other.arms and (pair := compared(*(verdicts_of(_seeds(o, label)) for o in (first, other)))):
                pairs.append((label, name, *difference_cells(pair)))
    shared = [len(set(first.games) & set(other.games)) for other in evaluations[1:]]
    text = [
        "Seconds and tokens are of the machine that each was played on and of as many games together as each was; "
        f"compare them where both are the same. Games in common with the first: {', '.join(map(str, shared))}."
    ]
    if len({one.max_steps for one in evaluations}) > 1:
        limits = ", ".join(str(one.max_steps) for one in evaluations)
        text.append(f"Careful: they were played with other limits of steps ({limits}).")
    columns: tuple[str, ...] = (
        "arm",
        "evaluation",
        "model, MB",
        "success [95%]",
        *(["score [95%]"] if with_scores else []),
        "steps",
        "s a game",
        "tokens written a s",
        "machine",
    )
    tables = [Table("Evaluations side by side", columns, tuple(rows))]
    if pairs:
        columns = ("arm", "evaluation", "games", "first alone won", "this alone won", "difference, points [95%]", "p")
        tables.append(Table(f"Against {names[0]}, on the same games", columns, tuple(pairs)))
    return Section("side-by-side", "Side by side", tuple(text), tuple(tables))


def _seeds(results: Results, label: str) -> dict[int, list[Any]]:
    return {seed: list(of_seed.values()) for seed, of_seed in results.episodes[label].items()}


def _cells(results: Results, label: str, with_scores: bool) -> list[str]:
    figures, header = results.arms[label], results.header
    weights = header.get("model_bytes")
    written, seconds = tokens_of(results.of_arm(label))["out"], figures["seconds_per_game"] * figures["games"]
    machine = header.get("machine")
    chip = machine.get("chip") if isinstance(machine, dict) else None
    return [
        number(weights / MB if isinstance(weights, int) else None, 0),
        rate_of(figures),
        *([score_cell(figures) if "score95" in figures else NONE] if with_scores else []),
        number(figures["steps_mean"]),
        number(figures["seconds_per_game"], 2),
        number(written / seconds if written and seconds else None),
        f"{chip}, {header.get('batch_size')} together" if chip and header.get("batch_size") else str(chip or NONE),
    ]
