"""A student with its adapter, its memories and its way of writing prompts: what `load_agent` gives back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from duomem_mlx import prompt
from duomem_mlx.environment import DEFAULT, Environment, Game, find_environment
from duomem_mlx.errors import UsageError
from duomem_mlx.guarded import guarded
from duomem_mlx.models_on_disk import STUDENT
from duomem_mlx.offers import commands_of, refused_by, shorten_of
from duomem_mlx.paths import pull_hint, pulled, shipped
from duomem_mlx.prompt import Example
from duomem_mlx.student.adapters import usual_k
from duomem_mlx.student.episodes import Entry, PlaySettings, Turn, play
from duomem_mlx.student.models import Student, load_student
from duomem_mlx.student.transcript import Writer, make_writer

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Bank, Hit


@dataclass(frozen=True)
class Agent:
    """Plays games from task and observations. `bank` None or `k` 0 means no memories."""

    student: Student
    writer: Writer
    environment: Environment
    bank: "Bank | None" = None
    k: int = 4
    settings: PlaySettings = field(default_factory=PlaySettings)

    def recall(self, game: Game) -> "list[Hit]":
        """The memories its prompt would show for this game, best first; never one made from this very game."""
        return recalled(self.bank, game, self.k)

    def play(self, game: Game, max_steps: int | None = None, hits: "Sequence[Hit] | None" = None) -> Iterator[Turn]:
        """Play one game to its end, greedily, at most `max_steps` actions. `hits` are memories already recalled."""
        settings = replace(self.settings, width=1, max_steps=max_steps or self.settings.max_steps)
        game = guarded(game)
        entry = Entry(game.id, game, examples(self.recall(game) if hits is None else hits))
        refused, commands = refused_by(self.environment), commands_of(self.environment)
        return play(self.student, self.writer, [entry], settings, refused, commands)


def recalled(bank: "Bank | None", game: Game, k: int) -> "list[Hit]":
    """The k memories nearest to a game, asked for with the kind of text the bank's keys are."""
    if bank is None or k == 0:
        return []
    return bank.search(question_of(bank, game), k, exclude_game=game.id)


def question_of(bank: "Bank", game: Game) -> str:
    """What a bank is asked for a game."""
    return game.task if bank.by == "task" else bank.question(game.task, game.reset())


def examples(hits: "Sequence[Hit]") -> list[Example]:
    """Memories as a prompt shows them."""
    return [Example(hit.memory.task, hit.memory.script) for hit in hits]


def prompt_style_of(student: Student) -> str:
    """The style the adapter was trained in; without one the model's usual one."""
    return str(student.adapter_record.get("prompt_style", usual_style(student.name)))


def usual_style(model: str) -> str:
    """Compact for the default student, which is tiny; chat for any other model."""
    return prompt.COMPACT if model == STUDENT else prompt.CHAT


def writer_for(student: Student, environment: Environment, style: str | None = None) -> Writer:
    style = style or prompt_style_of(student)
    return make_writer(student.tokenizer, style, environment.instructions, shorten_of(environment))


def load_agent(
    adapter: str | Path | None = None,
    memories: "Bank | None" = None,
    *,
    model: str | None = None,
    environment: Environment | None = None,
    k: int | None = None,
    prompt_style: str | None = None,
) -> Agent:
    """Load a student with an adapter and memories.

    `adapter` is a folder or the name of a shipped one; None is the bare student. `k` None means `usual_k`. Raises
    UsageError when it is not there, DuomemError when it was made for another base.
    """
    world = environment or find_environment(DEFAULT)
    folder = None if adapter is None else adapter_folder(str(adapter))
    student = load_student(model, adapter=folder)
    k = usual_k(folder) if k is None else k
    return Agent(student, writer_for(student, world, prompt_style), world, memories, k)


def adapter_folder(name: str) -> Path:
    """Folder of a shipped adapter's name, of a bundle OWNER/NAME that was pulled, or of a path. Raises UsageError when
    there is none."""
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    if found := shipped("adapters", name) or pulled(name):
        return found
    raise UsageError(
        f"There is no adapter {name!r}.",
        f"Name a folder or one of adapters/; `duomem-mlx train` makes one.{pull_hint(name)}",
    )
