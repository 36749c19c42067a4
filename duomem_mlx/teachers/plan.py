"""What a run will take, judged by the attempts it has made so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from duomem_mlx.teachers.attempts import Outcome, ways_won
from duomem_mlx.teachers.budget import Spent
from duomem_mlx.teachers.course import Rules

PROBE_GAMES = 3


@dataclass(frozen=True)
class Estimate:
    """Of what is left to do, on top of what was spent."""

    attempts: int
    tokens: int
    cost: float
    hours: float


@dataclass(frozen=True)
class Plan:
    """Between `least` (every attempt wins in a new way) and `most` (every game takes all its attempts)."""

    games: int  # that are not done with
    probed: int  # attempts it is judged by
    least: Estimate
    most: Estimate


def plan_for(
    games: Sequence[str],
    done: Mapping[str, Sequence[Outcome]],
    rules: Rules,
    spent: Spent,
    seconds_an_attempt: float,
    width: int,
) -> Plan:
    """The plan for what is left of `games`, `width` at once. `done` and `spent`: so far, at least one attempt."""
    probed = sum(map(len, done.values()))
    left = [done.get(game, ()) for game in games if not rules.done(done.get(game, ()))]

    def estimate(attempts: int) -> Estimate:
        share = attempts / probed
        return Estimate(
            attempts=attempts,
            tokens=round((spent.tokens_in + spent.tokens_out) * share),
            cost=round(spent.cost * share, 2),
            hours=round(attempts * seconds_an_attempt / max(1, min(width, len(left))) / 3600, 6),
        )

    rest = [rules.attempts - len(outcomes) for outcomes in left]
    wanted = [rules.solutions - ways_won(outcomes) for outcomes in left]
    return Plan(len(left), probed, estimate(sum(map(min, wanted, rest))), estimate(sum(rest)))
