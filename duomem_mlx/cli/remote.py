"""A remote model, as a teacher or as who writes for a bank: its options put together, what it uses told."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem_mlx.cli import output
from duomem_mlx.cli.options import given as given_options

if TYPE_CHECKING:
    import typer

    from duomem_mlx.environment import Environment
    from duomem_mlx.teachers.attempts import Attempts
    from duomem_mlx.teachers.budget import Budget, Limits
    from duomem_mlx.teachers.conversation import Manner
    from duomem_mlx.teachers.course import Rules
    from duomem_mlx.teachers.plan import Estimate, Plan
    from duomem_mlx.teachers.remote import Endpoint

REMOTE = "remote"
ITS_OPTIONS = ("base_url", "api_key_env", "price_in", "price_out", "max_cost")  # wherever a remote model may be asked


@dataclass(frozen=True)
class RemoteOptions:
    """What a call says of a remote teacher."""

    endpoint: "Endpoint"
    key_variable: str | None
    limits: "Limits"
    manner: "Manner"
    width: int  # games at once

    def settings(self) -> dict[str, Any]:
        """What the outcome depends on. Neither key nor price, nor the address: an endpoint may move, a budget grow."""
        return {"model": self.endpoint.model, "max_tokens": self.endpoint.max_tokens, **asdict(self.manner)}


def chosen(
    base_url: str | None,
    model: str | None,
    max_tokens: int | None,
    key_variable: str | None,
    limits: "Limits",
    temperatures: str = "none",
    keep_thoughts: bool = False,
    width: int = 1,
) -> RemoteOptions:
    """`max_tokens` None: as many as an endpoint is asked for by default. Raises UsageError for what is missing or
    wrong, the key included."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.teachers.conversation import Manner
    from duomem_mlx.teachers.remote import Endpoint, key_from

    if base_url is None or model is None:
        raise UsageError(
            "A remote model needs --base-url and --model.",
            "For example --base-url http://localhost:8080/v1 --model big.",
        )
    if limits.max_cost is not None and not (limits.price_in or limits.price_out):
        raise UsageError(
            "--max-cost is given and no price.", "Say what a million tokens cost with --price-in and --price-out."
        )
    key_from(key_variable)
    manner = Manner(parse_temperatures(temperatures), keep_thoughts)
    endpoint = Endpoint(base_url, model) if max_tokens is None else Endpoint(base_url, model, max_tokens)
    return RemoteOptions(endpoint, key_variable, limits, manner, width)


def refuse_its_options(context: "typer.Context", remedy: str, *further: str) -> None:
    """For a call that asks no remote model. Raises UsageError naming options, of ITS_OPTIONS and `further`, that it
    gives all the same."""
    from duomem_mlx.errors import UsageError

    if given := given_options(context, *further, *ITS_OPTIONS):
        raise UsageError(f"Only a remote model knows {', '.join(given)}.", remedy)


def reach(base_url: str) -> None:
    """Raises DuomemError when nothing answers there, before anything is overwritten for its sake."""
    import socket
    from urllib.parse import urlsplit

    from duomem_mlx.errors import DuomemError

    parts = urlsplit(base_url)
    try:
        socket.create_connection(
            (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)), 10
        ).close()
    except OSError as error:
        raise DuomemError(
            f"Nothing answers at {base_url} ({error.strerror or error}), so nothing is overwritten.",
            "Start it, or check --base-url.",
        ) from None


class Asking:
    """memory.writing.Ask of a remote model, one question at a time. Its answers are kept in a file, and none is paid
    for twice."""

    def __init__(self, options: RemoteOptions, file: Path) -> None:
        """Raises DuomemError when the file is damaged, cannot be written, or is another process's."""
        from duomem_mlx.teachers.asking import Asker
        from duomem_mlx.teachers.budget import Budget
        from duomem_mlx.teachers.journal import Journal
        from duomem_mlx.teachers.remote import RemoteModel, key_from
        from duomem_mlx.teachers.waiting import Waiting

        budget = Budget(options.limits)
        file.parent.mkdir(parents=True, exist_ok=True)
        journal = Journal(file, budget, wants_actions=False)
        self._model = options.endpoint.model
        self._asker = Asker(RemoteModel(options.endpoint, key_from(options.key_variable)), journal, budget, Waiting())

    def __call__(self, question: str) -> str:
        """Raises NoScript where the endpoint refuses this question, DuomemError when the budget is reached or nobody
        answers."""
        from duomem_mlx.errors import DuomemError
        from duomem_mlx.memory.writing import NoScript
        from duomem_mlx.teachers.asking import GivenUp, Stopped
        from duomem_mlx.teachers.journal import Place

        place = Place(self._model, 1, 0)  # which question it is, its words tell
        try:
            return self._asker.answer(place, [{"role": "user", "content": question}], None)[0].text
        except Stopped:
            raise DuomemError(
                f"{self._asker.reached} is reached: {self.note()}.", "Call again with more: no answer is lost."
            ) from None
        except GivenUp:
            raise NoScript(f"The endpoint refuses a question ({self._asker.last_fault}).") from None

    def note(self) -> str:
        """What was used so far."""
        return note(self._asker.budget, self._asker)


def parse_temperatures(text: str) -> tuple[float | None, ...]:
    """Temperatures out of `0,0.7` or `none`. Raises UsageError for anything else."""
    from duomem_mlx.errors import UsageError

    try:
        found = tuple(None if part.strip() == "none" else float(part) for part in text.split(","))
    except ValueError:
        found = (-1.0,)
    if not all(value is None or 0 <= value <= 2 for value in found):
        raise UsageError(
            f"--temp is {text!r}.", "Give numbers from 0 to 2 with commas between, or none to leave it to the endpoint."
        )
    return found


@dataclass(frozen=True)
class Played:
    """What a run with a remote teacher used, and why it stopped before its end if it did."""

    budget: "Budget"
    reached: str | None
    plan: "Plan | None"
    last_fault: str  # its kind, "" where there was none

    def nothing_came(self) -> tuple[str, str]:
        """Why no game came to its end, and what to do."""
        if self.last_fault and not self.budget.spent.answers:
            return (
                f"The endpoint answered nothing (last: {self.last_fault}).",
                "See that it runs and that --base-url names it; then the same command goes on.",
            )
        return "Nothing was played to its end.", f"Raise {self.reached or 'the budget'}."

    def record(self) -> dict[str, Any]:
        spent = self.budget.spent
        used = {"answers": spent.answers, "tokens_in": spent.tokens_in, "tokens_out": spent.tokens_out}
        return {"spent": {**used, "cost": round(spent.cost, 4)}, "faults": self.budget.faults, "stopped": self.reached}


def play(
    options: RemoteOptions,
    environment: "Environment",
    tasks: Sequence[str],
    folder: Path,
    attempts: "Attempts",
    rules: "Rules",
    max_steps: int,
    advance: Callable[[int, str], None],
    plan: bool,
) -> Played:
    """Let the remote teacher play, or with `plan` only as much as tells what the rest will take."""
    from duomem_mlx.environment import parallel_safe
    from duomem_mlx.teachers.asking import Asker
    from duomem_mlx.teachers.budget import Budget
    from duomem_mlx.teachers.conversation import RemoteTeacher
    from duomem_mlx.teachers.course import Rules, play_together
    from duomem_mlx.teachers.journal import JOURNAL, Journal
    from duomem_mlx.teachers.plan import PROBE_GAMES, plan_for
    from duomem_mlx.teachers.record import attempt
    from duomem_mlx.teachers.remote import RemoteModel, key_from
    from duomem_mlx.teachers.waiting import Waiting
    from duomem_mlx.trajectory import Trajectory

    model = RemoteModel(options.endpoint, key_from(options.key_variable))
    budget = Budget(options.limits)
    journal = Journal(folder / JOURNAL, budget)
    waiting = Waiting()
    asker = Asker(model, journal, budget, waiting)

    def one(game: str, number: int) -> Trajectory:
        teacher = RemoteTeacher(asker, options.manner, environment.instructions, game, number)
        temperature = options.manner.temperature(number)
        record = {"kind": REMOTE, "model": options.endpoint.model, "temperature": temperature}
        known = {name: value for name, value in record.items() if value is not None}
        return attempt(environment, game, teacher, known, max_steps)

    def watch(done: int) -> None:
        advance(done, note(budget, asker))

    width = options.width if parallel_safe(environment) else 1
    chosen, until = (tasks[:PROBE_GAMES], Rules(attempts=1)) if plan else (tasks, rules)
    try:
        play_together(chosen, attempts, until, one, watch, width, waiting.clock.stop)
    finally:
        journal.close()
        model.close()
    made = None
    if plan and attempts.done:
        seconds = budget.spent.answer_seconds / sum(map(len, attempts.done.values()))
        made = plan_for(tasks, attempts.done, rules, budget.spent, seconds, width)
    return Played(budget, asker.reached, made, asker.last_fault)


def note(budget: "Budget", asker: Any = None) -> str:
    """What was used so far, in a few words."""
    spent = budget.spent
    faults = sum(budget.faults.values())
    parts = [f"{spent.answers} answers", f"{spent.tokens_in + spent.tokens_out:,} tokens"]
    if budget.limits.price_in or budget.limits.price_out:
        parts.append(f"cost {spent.cost:.2f}")
    if faults:
        last = f" (last: {asker.last_fault})" if asker is not None and asker.last_fault else ""
        parts.append(f"{faults} faults{last}")
    if asker is not None and asker.under_way:
        parts.append(f"{asker.under_way} under way")
    return ", ".join(parts)


def tell(played: Played, left: int) -> None:
    """What it took, what went wrong on the way, and what stopped it."""
    output.say(f"{note(played.budget).capitalize()}.")
    if faults := played.budget.faults:
        told = ", ".join(f"{kind} {count}" for kind, count in faults.items())
        output.say(f"What went wrong and was got over: {told}.")
    if played.reached:
        output.say(f"{played.reached} is reached, {left} games are left; the same command with a larger one goes on.")


def show_plan(played: Played, seconds: float, json: bool) -> None:
    """Raises DuomemError when the probe came to nothing."""
    from duomem_mlx.errors import DuomemError

    plan = played.plan
    if plan is None:
        raise DuomemError(*played.nothing_came())
    if json:
        output.result({**asdict(plan), **played.record(), "seconds": seconds})
        return

    def row(name: str, e: "Estimate") -> tuple[str, ...]:
        return (name, str(e.attempts), f"{e.tokens:,}", f"{e.cost:.2f}", f"{e.hours:.2f}")

    output.table(
        ("", "attempts", "tokens", "cost", "hours"),
        [row("every attempt wins", plan.least), row("all attempts are needed", plan.most)],
    )
    output.say(f"{plan.games} games are left; judged by {plan.probed} attempts, which are kept.")
    output.hint("the same command without --plan")
