"""The episodes as the viewer in the page reads them: one compressed JSON value."""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from duomem_mlx.evaluation.causes import Cause
from duomem_mlx.evaluation.growing import bank_path
from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.folders import is_bank
from duomem_mlx.memory.record import Memory
from duomem_mlx.report.beside import names_of
from duomem_mlx.report.reading import Results, reason
from duomem_mlx.trajectory import Episode


def viewer_data(evaluations: Sequence[Results], banks: Sequence[Path], cause: Cause | None = None) -> dict[str, Any]:
    """{"arms": labels, "games": one by one, each with its episode by arm, "memories": text by id}. Texts of memories
    are those of `banks` and of the banks that grew in the results. Of several evaluations each arm is called by its
    evaluation too."""
    views: dict[str, Mapping[str, Episode]] = {}
    for called, results in zip(names_of(evaluations), evaluations, strict=True):
        prefix = f"{called}: " if len(evaluations) > 1 else ""
        views |= {prefix + name: results.episodes[label][seed] for name, (label, seed) in results.views.items()}
    games = []
    for game in sorted({game for results in evaluations for game in results.games}):
        played = {name: of_view[game] for name, of_view in views.items() if game in of_view}
        one = next(iter(played.values()))
        episodes = {name: _episode(episode, reason(episode, cause)) for name, episode in played.items()}
        games.append({"id": game, "type": one.kind, "task": one.task, "episodes": episodes})
    texts = {id_: text for results in evaluations for id_, text in memory_texts(results, banks).items()}
    return {"arms": list(views), "games": games, "memories": texts}


def packed(value: Mapping[str, Any]) -> str:
    """Base64 of gzip of JSON: text that can stand in any page."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def memory_texts(results: Results, banks: Sequence[Path]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for label, seed in results.views.values():
        ids = {memory_id(m) for episode in results.episodes[label][seed].values() for m in episode.memories}
        grown = bank_path(results.folder, label, seed)
        for folder in (*banks, *([grown] if is_bank(grown) else [])):
            if ids - found.keys():
                with Bank.open(folder) as opened:
                    found |= {memory.id: _memory(memory) for memory in _of(opened, ids - found.keys())}
    return found


def memory_id(memory: Mapping[str, Any]) -> str:
    return str(memory.get("id", ""))


def _of(bank: Bank, ids: Iterable[str]) -> Iterable[Memory]:
    wanted = set(ids)
    return (memory for memory in bank if memory.id in wanted)


def _memory(memory: Memory) -> dict[str, Any]:
    source = memory.source
    return {
        "task": memory.task,
        "script": memory.script,
        "steps": list(memory.steps),
        "of": f"{source.teacher}, {source.game}{'' if source.won else ', not won'}",
    }


def _episode(episode: Episode, reason: tuple[str | None, str] | None) -> dict[str, Any]:
    cause, manner = reason or (None, None)
    return {
        "won": episode.won,
        "score": episode.score if 0 < episode.score < 1 else None,
        "end": episode.end,
        "seconds": _finite(episode.seconds),
        "cause": cause,
        "manner": manner,
        "opening": episode.opening,
        "memories": [[memory_id(memory), _finite(memory.get("cosine"))] for memory in episode.memories],
        "steps": [_step(step) for step in episode.steps],
    }


def _step(step: Any) -> list[Any]:
    """[action, observation, flags, tokens read anew, read from the cache, written, seconds, thought]"""
    tokens = [step.tokens_new, step.tokens_cached, step.tokens_out]
    return [step.action, step.observation, list(step.flags), *tokens, _finite(step.seconds), step.thought]


def _finite(value: Any) -> float | None:
    return round(float(value), 4) if isinstance(value, int | float) and isfinite(value) else None
