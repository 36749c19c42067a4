"""One procedural memory, and the JSON object that carries it between banks."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from duomem_mlx.errors import DuomemError, refuse_newer

FORMAT = 1

# What a prompt can hold is far below these; a bank from elsewhere that exceeds them is broken or hostile.
MAX_BYTES = 256 * 1024  # all text of one memory, UTF-8
MAX_STEPS = 4096
MAX_COUNT = 2**40  # uses, wins, strength


@dataclass(frozen=True)
class Source:
    """Where a memory comes from; `won` is false only where failures are kept on purpose."""

    environment: str
    game: str
    split: str
    teacher: str
    trajectory: str
    won: bool = True


@dataclass(frozen=True)
class Memory:
    """How a task was done once: prose to follow, and the actions themselves.

    `key` is the text it is found by. Credit is counted over the games that had it in their prompt.
    """

    task: str
    script: str
    steps: tuple[str, ...]
    source: Source
    key: str = ""  # the task, where nothing else is said
    uses: int = 0  # games that had it in their prompt
    wins: int = 0  # those of them that were won
    strength: int = 1  # how many times the same experience came in
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", self.task)

    @property
    def id(self) -> str:
        """16 hex digits of a hash of task, script and steps; never of time."""
        return _hash([self.task, self.script, list(self.steps)])

    @property
    def experience(self) -> str:
        """What two memories have in common when the second only strengthens the first: task and script, or task
        and steps where there is no script."""
        return _hash([self.task, self.script] if self.script else [self.task, "", list(self.steps)])


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]


def check(memory: Memory, where: str) -> None:
    """Raise DuomemError when a memory is not fit to be kept; `where` names it."""
    texts = [memory.task, memory.script, memory.key, memory.created, *memory.steps]
    texts += [value for value in asdict(memory.source).values() if isinstance(value, str)]
    try:
        size = sum(len(text.encode()) for text in texts)
    except UnicodeEncodeError:
        raise DuomemError(f"{where} holds text that is not Unicode.", _REMAKE) from None
    if size > MAX_BYTES:
        raise DuomemError(f"{where} holds {size:,} bytes of text, at most {MAX_BYTES:,} are taken.", _REMAKE)
    if len(memory.steps) > MAX_STEPS:
        raise DuomemError(f"{where} has {len(memory.steps):,} steps, at most {MAX_STEPS:,} are taken.", _REMAKE)
    if not memory.task.strip():
        raise DuomemError(f"{where} has no task.", _REMAKE)
    if not memory.script.strip() and not memory.steps:
        raise DuomemError(f"{where} has neither script nor steps.", _REMAKE)
    if not 0 <= memory.wins <= memory.uses <= MAX_COUNT or not 1 <= memory.strength <= MAX_COUNT:
        raise DuomemError(
            f"{where} has impossible counts (uses {memory.uses}, wins {memory.wins}, strength {memory.strength}).",
            _REMAKE,
        )


def to_record(memory: Memory) -> dict[str, Any]:
    """The JSON object of a memory. `key` is left out where it is the task."""
    record = {"format": FORMAT, "id": memory.id, **asdict(memory), "steps": list(memory.steps)}
    if memory.key == memory.task:
        del record["key"]
    return record


def from_record(record: Any, where: str) -> Memory:
    """The memory of one JSON object; `where` names it in errors. Raises DuomemError when a field is missing, of
    another type or too large, the id is not its content's, or the format is newer than this program's."""
    if not isinstance(record, dict):
        raise DuomemError(f"{where} is not a memory: a JSON object was expected.", _REMAKE)
    version = record.get("format", FORMAT)
    refuse_newer(where, version, FORMAT)
    try:
        source = record["source"]
        memory = Memory(
            task=_text(record["task"]),
            script=_text(record["script"]),
            steps=_texts(record["steps"]),
            source=Source(
                **{name: _text(source[name]) for name in ("environment", "game", "split", "teacher", "trajectory")},
                won=_flag(source.get("won", True)),
            ),
            key=_text(record.get("key", "")),
            uses=_count(record["uses"]),
            wins=_count(record["wins"]),
            strength=_count(record["strength"]),
            created=_text(record["created"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise DuomemError(f"{where} is not a memory ({reason}).", _REMAKE) from None
    check(memory, where)
    if record.get("id", memory.id) != memory.id:
        raise DuomemError(f"{where} has an id that is not its content's: it was changed.", _REMAKE)
    return memory


_REMAKE = "Remove it, or export the bank again from where it was made."


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, found {type(value).__name__}")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str | dict):
        raise TypeError(f"a list of texts expected, found {type(value).__name__}")
    return tuple(_text(item) for item in value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false expected, found {type(value).__name__}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a whole number expected, found {type(value).__name__}")
    return value
