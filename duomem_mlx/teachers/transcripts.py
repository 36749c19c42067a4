"""Games as others wrote them down: chat messages, ShareGPT conversations, ReAct and tagged transcripts.

Read is who said what, the world or the agent; what of it is an action is told by the agent's own way of writing:
`<action>…</action>`, an `Action:` line, or the bare words. Files come from anywhere, so nothing in them is trusted.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from duomem_mlx import prompt
from duomem_mlx.errors import DuomemError, UsageError

MESSAGES, SHAREGPT, REACT, TAGGED = FORMATS = ("messages", "sharegpt", "react", "tagged")

NO_JSON = "is not whole JSON"
NO_FORMAT = "is of no known format"
OURS = "is a trajectory of this program, which needs no import"
NO_TEXT = "holds text that is not Unicode"
TOO_LARGE = "is too large"
NO_ACTION = "holds no action"

_MOST_BYTES = 1 << 30  # of a file
_MOST_CHARACTERS = 2 << 20  # of one game
_WORLD = ("user", "human", "observation", "environment", "tool", "function")
_AGENT = ("assistant", "gpt", "agent", "ai", "model", "bot")
_LISTS = (("messages", MESSAGES), ("conversations", SHAREGPT), ("conversation", SHAREGPT))
OWN = {"format", "environment", "opening", "steps"}
_TEXTS = ("text", "trajectory", "transcript", "trace", "prompt")
_NAMES = ("game_file", "gamefile", "game", "game_id", "task_id", "item_id", "id", "path", "error")
_INNER = ("meta", "metadata", "info", "extra_info")  # ETO's own runs keep the game's file in meta.error

_TOLD = re.compile(r"\btask(?: is(?: to)?)?: *(?P<task>\S[^\n]*)", re.IGNORECASE)
_MARK = re.compile(r"(?:>|Act(?:ion)? ?\d*:) *", re.IGNORECASE)
_OPENED = re.compile(r"\s*\n?[ \t]*(?P<fence>`{3,})[^`\n]*\n")
_FENCED = re.compile(r"(?P<fence>`{3,})[^`\n]*\n(?P<inside>.*?)\n?[ \t]*(?P=fence)", re.DOTALL)
_LONGEST_FENCE = 100_000  # characters
_ANSWER = re.compile(r"Obs(?:ervation)? ?\d*: *", re.IGNORECASE)


class Said(NamedTuple):
    """One thing that was said, by the agent or by the world."""

    by_agent: bool
    text: str


class Turn(NamedTuple):
    """One action, with the thoughts before it and what followed it; nothing follows where a record ends."""

    action: str
    thought: str | None
    observation: str


@dataclass(frozen=True)
class Transcript:
    """One game as somebody else wrote it down."""

    said: tuple[Said, ...]
    names: tuple[str, ...] = ()  # what the record calls its game: ids, paths
    model: str = ""  # who played, where the record says so
    format: str = ""  # one of FORMATS


def read_transcripts(path: Path, form: str | None, left_out: Counter[str]) -> Iterator[Transcript]:
    """The games of a file: JSON Lines, one JSON value, or text in which every game begins with its task.

    form: one of FORMATS; None finds it out. What cannot be read is counted in `left_out` by its reason. Raises
    UsageError when the file cannot be read or there is no such format.
    """
    if form not in (None, *FORMATS):
        raise UsageError(f"There is no format {form!r}.", f"Choose one of {', '.join(FORMATS)}.")
    data = bytes_of(path)
    if data.lstrip()[:1] not in (b"{", b"["):
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError(f"{path} is not UTF-8 text.", "Check the file.") from None
        yield from _of_text(text, form, left_out)
        return
    for record in records_in(data, left_out):
        try:
            yield _of_record(record, form)
        except DuomemError as error:
            left_out[error.what] += 1


def turns_of(said: Sequence[Said]) -> list[Turn]:
    """The actions among what was said. Answers that are thoughts alone are handed to the action after them, and
    what the world says to such a thought ("OK.") is dropped."""
    read = _reader([one.text for one in said if one.by_agent])
    turns, thoughts = list[Turn](), list[str]()
    for place, one in enumerate(said):
        if not one.by_agent:
            continue
        action, thought = read(one.text)
        thoughts += [thought] if thought else []
        if action is None:
            continue
        after = said[place + 1].text if place + 1 < len(said) else ""
        turns.append(Turn(action, "\n".join(thoughts) or None, _ANSWER.sub("", after.strip(), count=1)))
        thoughts.clear()
    return turns


def task_told(text: str) -> str | None:
    """The task that a text tells ("Your task is to: …"), without its stop."""
    found = _TOLD.search(text)
    return found["task"].strip().rstrip(".").rstrip() or None if found else None


# -- what an answer says -------------------------------------------------------------------------------------


def _reader(answers: Sequence[str]) -> Any:
    """answer -> (action or None, thought or None), in the way these answers are written."""
    if any("<action>" in answer.lower() for answer in answers):
        return _read_tagged
    if any(prompt.read_chat(answer).action is not None for answer in answers):
        return _read_labelled
    return _read_bare


def _read_tagged(answer: str) -> tuple[str | None, str | None]:
    thought = _inside(answer, "think") or _inside(answer, "thought") or _inside(answer, "thinking")
    action = _inside(answer, "action")
    return (_tidy(action) if action else None), thought


def _read_labelled(answer: str) -> tuple[str | None, str | None]:
    reply = prompt.read_chat(answer)
    return (_tidy(reply.action) if reply.action else None), reply.thought


def _read_bare(answer: str) -> tuple[str | None, str | None]:
    if (lowered := answer.strip().lower()).startswith("think:"):
        return None, answer.strip()[len("think:") :].strip() or None
    if lowered.startswith("<think>"):
        thought = _inside(answer, "think")
        answer = answer[answer.lower().find("</think>") + len("</think>") :] if thought is not None else ""
        return _tidy(answer), thought
    return _tidy(answer), None


def first_line(action: str) -> str:
    """Of an action of several lines the first, for agents that say more than their action: it alone may be one."""
    return _tidy(next((line for line in action.splitlines() if line.strip()), "")) or action


def _inside(text: str, tag: str) -> str | None:
    """What stands in the first <tag>…</tag>; None where it does not open and close."""
    lowered = text.lower()  # of another length for a few letters, none of which the tags hold
    if len(lowered) != len(text):
        lowered = text
    start = lowered.find(f"<{tag}>")
    end = lowered.find(f"</{tag}>", start)
    return text[start + len(tag) + 2 : end].strip() if 0 <= start < end else None


def _tidy(action: str) -> str | None:
    """Without mark, quotes and stop; of several lines, such as JSON or a script, without mark and fence alone."""
    line = action.strip()
    line = _MARK.sub("", line, count=1) if _MARK.match(line) else line
    if "\n" in line:
        fenced = _FENCED.fullmatch(line)
        return (fenced["inside"] if fenced else line) or None
    for mark in "`\"'":
        if len(line) > 1 and line[0] == line[-1] == mark:
            line = line[1:-1].strip()
    return line.removesuffix(".").strip() or None


# -- files ---------------------------------------------------------------------------------------------------


def bytes_of(path: Path) -> bytes:
    """What a file of others holds. Raises UsageError when it cannot be read or is far too large."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} is larger than {_MOST_BYTES >> 30} GiB.", "Split it.")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from None


def records_in(data: bytes, left_out: Counter[str]) -> Iterator[Any]:
    """The JSON values of JSON Lines, or of one list; lines that are none are counted in `left_out`."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        for line in data.splitlines():
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    left_out[NO_JSON] += 1
        return
    if isinstance(whole, list) and not (whole and _is_message(whole[0])):
        yield from whole
    else:
        yield whole


def _of_record(record: Any, form: str | None) -> Transcript:
    """Raises DuomemError whose `what` is the reason why it cannot be read."""
    fields: Mapping[str, Any] = record if isinstance(record, dict) else {"messages": record}
    for name, kind in _LISTS:
        if isinstance(fields.get(name), list) and form in (None, kind):
            said = [one for message in fields[name] for one in _of_message(message)]
            return _checked(said, fields, kind)
    for name in _TEXTS:
        if isinstance(fields.get(name), str) and form in (None, REACT, TAGGED):
            kind = form or _kind_of_text(fields[name])
            games = _split_games(_said_in(fields[name], kind))
            return _checked(games[-1] if games else [], fields, kind)  # those before it are examples
    raise DuomemError(OURS if fields.keys() >= OWN else NO_FORMAT)


def _of_text(text: str, form: str | None, left_out: Counter[str]) -> Iterator[Transcript]:
    kind = form or _kind_of_text(text)
    if kind not in (REACT, TAGGED):
        left_out[NO_FORMAT] += 1
        return
    for said in _split_games(_said_in(text, kind)):
        try:
            yield _checked(said, {}, kind)
        except DuomemError as error:
            left_out[error.what] += 1


def _checked(said: Sequence[Said], fields: Mapping[str, Any], kind: str) -> Transcript:
    places = [fields, *(inner for name in _INNER if isinstance(inner := fields.get(name), dict))]
    found = [place.get(name) for place in places for name in _NAMES]
    names = tuple(dict.fromkeys(name for name in found if isinstance(name, str) and 0 < len(name) <= 500))
    model = next((place["model"] for place in places if isinstance(place.get("model"), str)), "")[:200]
    texts = [*names, model, *(one.text for one in said)]
    if sum(map(len, texts)) > _MOST_CHARACTERS:
        raise DuomemError(TOO_LARGE)
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise DuomemError(NO_TEXT) from None
    if not any(one.by_agent for one in said):
        raise DuomemError(NO_ACTION)
    return Transcript(_merged(said), names, model, kind)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and (("role" in value) or ("from" in value)) and not value.keys() & {*dict(_LISTS)}


def _of_message(message: Any) -> Iterator[Said]:
    """What a message says; a system text says nothing. Raises DuomemError for what is no message."""
    if not _is_message(message):
        raise DuomemError(NO_FORMAT)
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    if isinstance(content, list):  # OpenAI's parts
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if content is None:
        content = ""
    if not isinstance(role, str) or not isinstance(content, str):
        raise DuomemError(NO_FORMAT)
    if role.lower() in _AGENT:
        yield Said(True, content)
    elif role.lower() in _WORLD:
        yield Said(False, content)


def _merged(said: Sequence[Said]) -> tuple[Said, ...]:
    """What the world says in several pieces is one text; the agent's answers stay apart."""
    merged = list[list[str]]()
    owners = list[bool]()
    for by_agent, text in said:
        if merged and not by_agent and not owners[-1]:
            merged[-1].append(text)
        else:
            merged.append([text])
            owners.append(by_agent)
    return tuple(Said(owner, "\n".join(texts)) for owner, texts in zip(owners, merged, strict=True))


# -- text ----------------------------------------------------------------------------------------------------


def _kind_of_text(text: str) -> str:
    return TAGGED if "<action>" in text.lower() else REACT


def _said_in(text: str, kind: str) -> list[Said]:
    return list(_merged(list(_said_tagged(text) if kind == TAGGED else _said_react(text))))


def _said_react(text: str) -> Iterator[Said]:
    """`> action` lines are the agent's, with what JSON or a fence that begins there takes of further ones; all others
    are the world's."""
    at = end = 0
    for line in text.splitlines(keepends=True):
        begin, at = at, at + len(line)
        if begin < end:
            continue  # of the action before
        if found := _MARK.match(line.strip()):
            start = begin + len(line) - len(line.lstrip()) + found.end()
            several = _several_lines(text, start)
            end = start + len(several)
            yield Said(True, several or line.strip()[found.end() :].replace(prompt.RETURN, "\n"))
        else:
            yield Said(False, line.splitlines()[0])


def _several_lines(text: str, start: int) -> str:
    """The JSON, or the fence of backticks and what is in it, that begins there and takes several lines; else empty."""
    if text[start : start + 1] in ("{", "["):
        found = prompt.json_at(text, start) or ""
        return found if "\n" in found else ""
    if opened := _OPENED.match(text, start):
        closing = re.compile(rf"^[ \t]*{opened['fence']}[ \t]*$", re.MULTILINE)
        if closed := closing.search(text, opened.end(), opened.end() + _LONGEST_FENCE):
            return text[start : closed.end()]
    return ""


def _said_tagged(text: str) -> Iterator[Said]:
    """From <think> or <action> up to </action> it is the agent who speaks."""
    lowered = text.lower() if len(text.lower()) == len(text) else text
    at = 0
    while (end := lowered.find("</action>", at)) >= 0:
        begins = [found for tag in ("<think", "<action>") if (found := lowered.find(tag, at, end)) >= 0]
        start = min(begins, default=end)
        yield Said(False, text[at:start])
        yield Said(True, text[start : end + len("</action>")])
        at = end + len("</action>")
    yield Said(False, text[at:])


def _split_games(said: Sequence[Said]) -> list[list[Said]]:
    """Cut before every text of the world that tells a task; what stands before the first is dropped where more
    follow."""
    games = list[list[Said]]([[]])
    for one in said:
        if not one.by_agent and task_told(one.text) is not None and any(s.by_agent for s in games[-1]):
            games.append([])
        games[-1].append(one)
    return [game for game in games if any(one.by_agent for one in game)]
