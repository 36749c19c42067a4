"""One attempt at a game, and the JSON Lines file that keeps many of them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duomem_mlx.errors import DuomemError, UsageError, refuse_newer
from duomem_mlx.paths import append_json, read_json

# 2: steps that say what was wanted instead; 3: runs with tools. What has neither is written as 1, for older readers.
FORMAT = 3
UNKNOWN_TEACHER = "unknown"
ENDS = ("won", "lost", "steps", "context", "environment")


@dataclass(frozen=True)
class Step:
    """What was done and what came of it: `observation` is the text that followed `action`."""

    action: str
    observation: str
    thought: str | None = None
    wanted: str | None = None  # what the teacher would have done there, where a student did something else
    sent: tuple[Mapping[str, Any], ...] | None = None  # in a run with tools: the messages that the next request added
    words: bool | None = None  # in a run with tools: true where the action was said in words that read like a call


@dataclass(frozen=True)
class Trajectory:
    """One attempt at one game, from its opening text to its end."""

    environment: str
    game: str  # stable id: the path below the data folder, or "generated:SEED"
    split: str
    kind: str  # what a stratified sample goes by; the task type in the household
    task: str
    opening: str
    steps: tuple[Step, ...]
    won: bool
    score: float  # 0 to 1; a game won counts 1
    end: str  # one of ENDS
    teacher: Mapping[str, Any]  # {"kind": …, "model"?, "temperature"?}
    seconds: float
    tokens: Mapping[str, int] | None = None  # {"in": …, "out": …}
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    request: Mapping[str, Any] | None = None  # a run with tools: {"messages": …, "tools": …} of its first request

    @property
    def id(self) -> str:
        """16 hex digits of a hash of environment, game and actions; never of time."""
        return trajectory_id(self.environment, self.game, [step.action for step in self.steps])

    @property
    def taught_by(self) -> str:
        """Who taught in it: the model's name, else who read along while a student played, else the kind of teacher."""
        named = (self.teacher.get(key) for key in ("model", "coach", "kind"))
        return str(next(filter(None, named), UNKNOWN_TEACHER))

    @property
    def actions(self) -> tuple[str, ...]:
        return tuple(step.action for step in self.steps)


def measures(split: str) -> bool:
    """Whether the games of a split measure: of one that was trained on its figures say nothing."""
    return split.startswith(("valid", "dev", "test"))


def trajectory_id(environment: str, game: str, actions: Iterable[str]) -> str:
    text = json.dumps([environment, game, list(actions)], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_record(trajectory: Trajectory) -> dict[str, Any]:
    """The JSON object of one line."""
    corrected = any(step.wanted is not None for step in trajectory.steps)
    version = 3 if trajectory.request is not None else 2 if corrected else 1
    record = {"format": version, "id": trajectory.id, **asdict(trajectory)}
    record["steps"] = [
        {key: value for key, value in asdict(step).items() if value is not None} for step in trajectory.steps
    ]
    for name in ("tokens", "request"):
        if record[name] is None:
            del record[name]
    return record


def from_record(record: Any, where: str, remedy: str = "") -> Trajectory:
    """The trajectory of one JSON object; `where` names it in errors, `remedy` says what to do about one. Raises
    DuomemError when a field is missing or of another type, or the format is newer than this program's."""
    if not isinstance(record, dict):
        raise DuomemError(f"{where} is not a trajectory: a JSON object was expected.", remedy or _REMAKE)
    version = record.get("format")
    refuse_newer(where, version, FORMAT)
    try:
        steps = tuple(
            Step(
                _text(step["action"]),
                _text(step["observation"]),
                _optional_text(step.get("thought")),
                _optional_text(step.get("wanted")),
                _messages(step["sent"]) if "sent" in step else None,
                _flag(step["words"]) if "words" in step else None,
            )
            for step in record["steps"]
        )
        trajectory = Trajectory(
            environment=_text(record["environment"]),
            game=_text(record["game"]),
            split=_text(record["split"]),
            kind=_text(record["kind"]),
            task=_text(record["task"]),
            opening=_text(record["opening"]),
            steps=steps,
            won=_flag(record["won"]),
            score=float(record["score"]),
            end=_text(record["end"]),
            teacher=dict(record["teacher"]),
            seconds=float(record["seconds"]),
            tokens=record.get("tokens"),
            created=_text(record["created"]),
            request=_request(record["request"]) if "request" in record else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DuomemError(f"{where} is not a trajectory ({_reason(error)}).", remedy or _REMAKE) from None
    if trajectory.end not in ENDS:
        raise DuomemError(f"{where} is not a trajectory (it ends with {trajectory.end!r}).", remedy or _REMAKE)
    return trajectory


def read_trajectories(path: Path) -> Iterator[Trajectory]:
    """The trajectories of a JSON Lines file, or of `trajectories.jsonl` in a folder, in the file's order; or the
    episodes of one arm of a results folder, `RESULTS/episodes/ARM`, without the answers that held no action.

    Raises UsageError when there is no such file or nothing in it, DuomemError naming the line that is torn or wrong.
    """
    if "episodes" in path.absolute().parts[-3:-1] and (episodes := sorted(path.rglob("[!.]*.json"))):
        for episode in episodes:
            played = from_record(read_json(episode, "the episode"), f"The episode {episode}")
            yield replace(played, steps=tuple(step for step in played.steps if step.action))
        return
    file = path / "trajectories.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"There are no trajectories at {file}.", "Check the path, or make some with `duomem-mlx teach`."
        )
    count = 0
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"Line {number} of {file}"
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    raise DuomemError(f"{where} is not whole JSON.", _REMAKE) from None
                yield from_record(record, where)
                count += 1
    except UnicodeDecodeError:
        raise DuomemError(f"{file} is not UTF-8 text.", "Make it again with `duomem-mlx teach`.") from None
    if not count:
        raise UsageError(f"{file} holds no trajectories.", "Make some with `duomem-mlx teach`.")


def append_trajectory(path: Path, trajectory: Trajectory) -> None:
    """Add one line and sync it to disk. Raises DuomemError when the disk refuses; earlier lines stay whole."""
    append_json(path, [to_record(trajectory)])


REPLAY = "Remove that file, and evaluate again to play that game."
_REMAKE = "Remove that line, or make the file again with `duomem-mlx teach`."


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, found {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON can hold half of a surrogate pair, no file and no tokenizer can
            raise ValueError("text that is not Unicode") from None
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _request(value: Any) -> dict[str, Any]:
    return {"messages": list(_messages(value["messages"])), "tools": [dict(tool) for tool in value["tools"]]}


def _messages(value: Any) -> tuple[dict[str, Any], ...]:
    messages = tuple(dict(message) for message in value)
    for message in messages:
        _text(message["role"])
    return messages


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false expected, found {type(value).__name__}")
    return value


def _reason(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


@dataclass(frozen=True)
class PlayedStep(Step):
    """A step of an episode, with what it cost and what the student did wrong in it."""

    tokens_new: int = 0  # of the start or the last observation; what starts have in common counts in each
    tokens_cached: int = 0  # of earlier turns, used again
    tokens_out: int = 0  # produced
    seconds: float = 0.0
    flags: tuple[
        str, ...
    ] = ()  # such as "no_action", "refused", "loop", "cut"; of the world "other_opening", "clipped"


@dataclass(frozen=True)
class Episode(Trajectory):
    """One game played by the student in one arm of an evaluation."""

    arm: str = ""
    k: int = 0
    memories: tuple[Mapping[str, Any], ...] = ()  # {"id": …, "cosine": …}, best first


def episode_from_record(record: Any, where: str) -> Episode:
    """The episode of one JSON object. Raises DuomemError as `from_record` does."""
    base = from_record(record, where, REPLAY)
    try:
        steps = tuple(
            PlayedStep(
                step.action,
                step.observation,
                step.thought,
                step.wanted,
                step.sent,
                step.words,
                tokens_new=int(raw["tokens_new"]),
                tokens_cached=int(raw["tokens_cached"]),
                tokens_out=int(raw["tokens_out"]),
                seconds=float(raw["seconds"]),
                flags=tuple(_text(flag) for flag in raw["flags"]),
            )
            for step, raw in zip(base.steps, record["steps"], strict=True)
        )
        fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
        return Episode(
            **{**fields, "steps": steps},
            arm=_text(record["arm"]),
            k=int(record["k"]),
            memories=tuple(dict(memory) for memory in record["memories"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DuomemError(f"{where} is not an episode ({_reason(error)}).", REPLAY) from None
