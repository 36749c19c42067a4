"""What the student reads and how it answers: a history of turns as text or messages, in two styles.

Only the task, the observations and the student's own words are ever in a prompt. `chat` goes through a model's
template; `compact-1` is one running text for tiny students:

    <memories>
    <opening>
    > go to sofa 1
    <observation>
    >
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CHAT = "chat"
COMPACT = "compact-1"
STYLES = (CHAT, COMPACT)

Shorten = Callable[[str], str]


@dataclass(frozen=True)
class Example:
    """A memory as a prompt shows it: the task it was made from, and the prose that says how it was done."""

    task: str
    script: str


@dataclass(frozen=True)
class Reply:
    """What the student said: `action` is None when there was none in it, and then `thought` is all it said."""

    action: str | None
    thought: str | None = None


def unchanged(text: str) -> str:
    return text


# -- compact -------------------------------------------------------------------------------------------------

ACTION_MARK = ">"
RETURN = "⏎"  # a line break within an action, where a line is an action


def compact_start(opening: str, examples: Sequence[Example], shorten: Shorten) -> str:
    """Everything before the first action, up to and with the mark it follows."""
    memories = "".join(f"Example: {_line(shorten(e.task))}\n{_line(e.script)}\n" for e in examples)
    return f"{memories}{_block(shorten(opening))}\n{ACTION_MARK}"


def compact_action(action: str) -> str:
    """What the student is trained to produce after the mark."""
    return f" {on_one_line(action.strip())}\n"


def on_one_line(action: str) -> str:
    return action.replace("\r\n", "\n").replace("\n", RETURN)


def compact_observation(observation: str, shorten: Shorten) -> str:
    """What stands between two actions."""
    return f"{_block(shorten(observation))}\n{ACTION_MARK}"


def read_compact(text: str) -> Reply:
    """The action in what was produced after the mark: its first line, in which ⏎ stands for a line break."""
    line = text.split("\n", 1)[0].strip()
    return Reply(line.replace(RETURN, "\n") or None)


def _line(text: str) -> str:
    return " ".join(text.split())


def _block(text: str) -> str:
    """Lines with something in them; one that could pass for an action is indented."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(f" {line}" if line.startswith(ACTION_MARK) else line for line in lines)


# -- chat ----------------------------------------------------------------------------------------------------

_ACTION = re.compile(r"^[ \t]*action[ \t]*:[ \t]*(?P<action>\S.*)$", re.IGNORECASE | re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*action[ \t]*:[ \t]*\n(?P<fence>`{3,})[^`\n]*\n", re.IGNORECASE | re.MULTILINE)
_THOUGHT = re.compile(r"^[ \t]*thought[ \t]*:(?P<thought>.*)$", re.IGNORECASE | re.MULTILINE)


def chat_system(instructions: str, examples: Sequence[Example], elsewhere: str = "another game") -> str:
    """The one system text: how to act, then the memories, each marked as made `elsewhere`."""
    if not examples:
        return instructions
    shown = "\n\n".join(
        f"Example {number}, from {elsewhere}. The task there was: {_line(e.task)}\n{e.script.strip()}"
        for number, e in enumerate(examples, 1)
    )
    return f"{instructions}\n\nWhat helped in similar tasks:\n\n{shown}"


def chat_reply(action: str, thought: str | None = None) -> str:
    """An answer as the student is taught to give it. An action of several lines stands in a fence of backticks."""
    spoken = f"Thought: {_line(thought)}\n" if thought else ""
    if "\n" not in action:
        return f"{spoken}Action: {action}"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", action)), default=0))
    return f"{spoken}Action:\n{fence}\n{action}\n{fence}"


def read_chat(text: str) -> Reply:
    """The first `Action:` line, or what stands in a fence of backticks below one, and the last `Thought:` line before
    it; what runs on after it is not read. JSON that begins on the line goes on to its end, whatever lines it takes. A
    fence that does not end holds no whole action, so there is none."""
    line, fenced = _ACTION.search(text), _FENCE.search(text)
    found = fenced if fenced and not (line and line.start() < fenced.start()) else line
    if found is None:
        return Reply(None, text.strip() or None)
    if found is fenced:
        end = re.compile(rf"^{found['fence']}[ \t]*$", re.MULTILINE).search(text, found.end())
        action = None if end is None else text[found.end() : end.start()].removesuffix("\n")
    else:
        action = json_at(text, found.start("action")) or found["action"].strip()
    if not action or not action.strip():
        return Reply(None, text.strip() or None)
    thoughts = list(_THOUGHT.finditer(text, 0, found.start()))
    thought = thoughts[-1]["thought"].strip() if thoughts else None
    return Reply(action, thought or None)


def json_at(text: str, start: int) -> str | None:
    """The JSON object or array that begins there, where nothing else stands on its last line."""
    if text[start] not in "{[":
        return None
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    rest = text[end:].partition("\n")[0]
    return None if rest.strip() else text[start:end]
