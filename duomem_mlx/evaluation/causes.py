"""Why games were not won: by the environment's own word, and in what manner, which every world shares."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from duomem_mlx.trajectory import Episode

Cause = Callable[[Any], str | None]  # an environment's own word for why an episode was not won

UNKNOWN = "not said"
LOOP, REFUSED, SILENT = "went round in a loop", "refused commands", "said nothing to act on"
ENDS = {"steps": "out of steps", "context": "out of context", "environment": "the environment broke", "lost": "lost"}
MUCH = 1 / 2  # of the steps


def manner(episode: Episode) -> str:
    """How a game that was not won went: what half of its steps were flagged with, else how it ended."""
    flags = Counter(flag for step in episode.steps for flag in set(getattr(step, "flags", ())))
    for flag, name in (("no_action", SILENT), ("loop", LOOP), ("refused", REFUSED)):
        if flags[flag] >= max(1, MUCH * len(episode.steps)):
            return name
    return ENDS.get(episode.end, episode.end)


def failures(episodes: Iterable[Episode], cause: Cause | None) -> dict[str, dict[str, int]]:
    """{"causes": {name: games}, "manners": {name: games}} of the games not won, most frequent first; `cause` is the
    environment's own."""
    lost = [episode for episode in episodes if not episode.won]
    causes = Counter((cause(episode) if cause else None) or UNKNOWN for episode in lost)
    manners = Counter(manner(episode) for episode in lost)
    return {
        "causes": _sorted(causes) if cause else {},
        "manners": _sorted(manners),
    }


def _sorted(counts: "Counter[str]") -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
