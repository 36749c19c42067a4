"""Who writes for a bank: the scripts of its memories, their better versions, and the key facts they are found by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duomem_mlx.cli import remote
from duomem_mlx.cli.output import progress, say
from duomem_mlx.environment import Environment
from duomem_mlx.offers import WorldBroke, advice_of, describe_of, general_of

if TYPE_CHECKING:
    from duomem_mlx.cli.remote import Asking
    from duomem_mlx.evaluation.growing import Learning
    from duomem_mlx.memory.bank import Bank
    from duomem_mlx.memory.keys import Facts
    from duomem_mlx.memory.record import Memory
    from duomem_mlx.memory.scripts import Write
    from duomem_mlx.memory.writing import Ask
    from duomem_mlx.teachers.budget import Limits
    from duomem_mlx.trajectory import Trajectory

PLAIN, SCRIPT, STUDENT = "plain", "script", "student"
JOURNAL = ".asked.jsonl"  # beside a bank: what a model answered for it, so that a build that was stopped goes on
PAID = ".answers.jsonl"  # the same of a remote model, with the tokens it took


@dataclass(frozen=True)
class Far:
    """Where a remote model is, and what it may cost."""

    base_url: str | None
    key_variable: str | None
    limits: "Limits"


@dataclass(frozen=True)
class Asked:
    """A model that can be asked. `name` tells it from all others that would answer otherwise."""

    name: str
    ask: "Ask"
    note: Callable[[], str] = lambda: "scripts"  # what it used so far, or what it does
    kept: "Callable[[Path], Asking] | None" = None  # a remote model that keeps its answers, and their price, in a file

    @property
    def here(self) -> bool:
        """On this machine."""
        return self.kept is None


def student(model: str | None) -> Asked:
    """The student as it is, without an adapter; it is loaded with the first question."""
    from duomem_mlx.models_on_disk import STUDENT as DEFAULT
    from duomem_mlx.models_on_disk import locate

    located = locate(model or DEFAULT)

    @cache
    def loaded() -> "Ask":
        from duomem_mlx.student.asking import asker
        from duomem_mlx.student.models import load_student

        return asker(load_student(model))

    return Asked(f"{STUDENT} {located.name}@{located.identity[:16]}", lambda question: loaded()(question))


def far_model(model: str | None, far: Far) -> Asked:
    """A model behind an endpoint; all its answers are kept, since they are paid for. Raises UsageError as
    `remote.chosen` does."""
    options = remote.chosen(far.base_url, model, None, far.key_variable, far.limits)

    def never(question: str) -> str:
        raise AssertionError("a remote model is asked with its answers kept, see `journaled`")

    return Asked(f"{remote.REMOTE} {model}", never, kept=lambda journal: remote.Asking(options, journal))


# Models on this machine that write, by the name that --writer gives them: a function of the value of --model.
MODELS: dict[str, Callable[[str | None], Asked]] = {STUDENT: student}


def asked_by(writer: str, model: str | None, far: Far | None = None) -> Asked | None:
    """The model behind a writer's name; None for the writers that need none. Raises UsageError for another name, and
    for a remote one that is not told where it is."""
    from duomem_mlx.errors import UsageError

    if writer == remote.REMOTE and far is not None:
        return far_model(model, far)
    if writer in (PLAIN, SCRIPT):
        return None
    if writer not in MODELS:
        names = ", ".join((PLAIN, SCRIPT, *MODELS, remote.REMOTE))
        raise UsageError(f"There is no writer {writer!r}.", f"Choose one of {names}.")
    return MODELS[writer](model)


def journaled(asked: Asked, bank: Path) -> Asked:
    """The same, with its answers kept beside a bank."""
    from duomem_mlx.memory.writing import remembered

    journal = bank.with_name(bank.name + (PAID if asked.kept else JOURNAL))
    say(f"What {asked.name} answers is kept in {journal}.")
    if asked.kept is None:
        return replace(asked, ask=remembered(asked.ask, asked.name, journal))
    asking = asked.kept(journal)
    return replace(asked, ask=asking, note=asking.note)


def script_writer(environment: Environment, writer: str, way: str, asked: Asked | None) -> "Write":
    """What makes the script of a game: a model, the world, or the actions in a row, which games of other worlds have
    anyway unless a model writes. Raises UsageError for an unknown way."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.memory.scripts import plain_script
    from duomem_mlx.memory.writing import WAYS
    from duomem_mlx.memory.writing import writer as writer_of

    if way not in WAYS:
        raise UsageError(f"There is no way {way!r} of writing.", f"Choose one of {', '.join(WAYS)}.")
    if asked is not None:
        return writer_of(asked.ask, way, general_of(environment), advice_of(environment))
    own = own_writer(environment, plainly=writer == PLAIN)
    return lambda played: (own if played.environment == environment.name else plain_script)(played)


def own_writer(environment: Environment, plainly: bool = False) -> "Write":
    """The world's own words for what was done in it; where it has none, or `plainly`, the actions in a row."""
    from duomem_mlx.memory.scripts import plain_script

    describe = None if plainly else describe_of(environment)
    return describe or partial(plain_script, general=general_of(environment))


def finder_of_facts(asked: Asked | None, model: str | None) -> Asked:
    """Who finds key facts: who writes, else the student. Not a remote model: facts are found for every game that is
    played later, too."""
    if asked is not None and asked.here:
        return asked
    return MODELS[STUDENT](model if asked is None else None)


def facts_finder(asked: Asked) -> "tuple[str, Facts]":
    """The name of a finder, and what it finds key facts with."""
    from duomem_mlx.memory.writing import FACTS_PROMPT, finder

    return f"{FACTS_PROMPT} {asked.name}", finder(asked.ask)


def ready(bank: "Bank", model: str | None) -> "Bank":
    """The bank, with the finder it was made with where it is found by key facts. Raises UsageError when these are of
    another model than `--model` names: a bank must not choose what is loaded."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.memory.keys import FACTS

    if bank.by == FACTS:
        finders = dict(facts_finder(make(model)) for make in MODELS.values())
        if bank.finder not in finders:
            raise UsageError(
                f"The key facts of {bank.path} were found by {bank.finder or 'nobody knows whom'}.",
                "Name that model with --model, or build the bank by task.",
            )
        bank.facts = finders[bank.finder]
    return bank


def learning(environment: Environment, policy: str) -> "Learning":
    """How a bank learns from play: scripts are the environment's own, and the student that played rewrites. Raises
    UsageError for an unknown policy."""
    from duomem_mlx.errors import UsageError
    from duomem_mlx.evaluation.growing import Learning
    from duomem_mlx.memory.growth import ADJUSTMENT, POLICIES, Growth

    if policy not in POLICIES:
        raise UsageError(f"There is no growth {policy!r}.", f"Choose one of {', '.join(POLICIES)}.")

    def rewriter(agent: Any) -> Any:
        from duomem_mlx.memory.writing import rewriter as rewriter_of
        from duomem_mlx.student.asking import asker

        return rewriter_of(asker(agent.student), general_of(environment), advice_of(environment))

    return Learning(Growth(policy), own_writer(environment), rewriter if policy == ADJUSTMENT else None)


def _memory(trajectory: "Trajectory", write: "Write", by: str, facts: "Facts | None") -> "Memory | None":
    """None where no script was written, or it is not fit to be kept."""
    from duomem_mlx.errors import DuomemError
    from duomem_mlx.memory.record import check
    from duomem_mlx.memory.scripts import memory_of
    from duomem_mlx.memory.writing import NoScript

    try:
        memory = memory_of(trajectory, write, by, facts)
    except (NoScript, WorldBroke) as error:
        say(f"Left out: {error.what}")
        return None
    try:
        check(memory, f"The memory of {trajectory.id}")
    except DuomemError as error:
        say(f"Left out: {error.what}")
        return None
    return memory


def memories_of(
    trajectories: "Sequence[Trajectory]",
    environment: "Environment",
    by: str,
    form: str,
    write: "Write",
    facts: "Facts | None",
    asked: Asked | None,
) -> "tuple[list[Memory], int]":
    """Their memories, and how many had nothing in them or were too large to be kept. `asked`: the model that `write`
    asks."""
    from duomem_mlx.memory.scripts import in_form

    if others := sum(t.environment != environment.name for t in trajectories):
        say(f"{others} trajectories are not of {environment.name}.")
    formed = in_form(write, form)
    memories, left_out = list["Memory"](), 0
    with progress("Writing", len(trajectories)) as advance:
        for number, trajectory in enumerate(trajectories, 1):
            made = _memory(trajectory, formed, by, facts)
            memories += [made] if made else []
            left_out += not made
            advance(number, asked.note() if asked else "scripts")
    if asked is not None and not asked.here:
        say(f"{asked.note().capitalize()}.")
    return memories, left_out
