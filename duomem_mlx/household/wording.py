"""The household's texts in fewer words: every fact and every name stays.

You arrive at desk 2. On the desk 2, you see a mug 3, a mug 1, and a pen 2.   →   desk 2: mug 1 3, pen 2
"""

import re

NAME = r"[a-z]+ \d+"

_WELCOME = re.compile(r"-= Welcome to TextWorld, ALFRED! =-\s*")
_ROOM = re.compile(r"You are in the middle of a room\. Looking quickly around you, you see (?P<things>[^.]*)\.")
_TASK = re.compile(r"Your task is to: (?P<task>.*?)\.?\s*$")
_NUMBERED = re.compile(r"(?<=[^\W\d]) \d+\b(?!\.\d)")
_LISTED = re.compile(rf"(?:a|an) ({NAME})")

# Longest first: an arrival tells what is there in the same breath.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), short)
    for pattern, short in (
        (rf"You arrive at (?P<r>{NAME})\. (?=(?:On|The) (?:the )?(?P=r)[ ,])", ""),
        (rf"You open the (?P<r>{NAME})\. (?=The (?P=r) is open)", ""),
        (rf"The (?P<r>{NAME}) is open\. In it, you see (?P<things>[^.]*)\.", r"{r} open: {things}"),
        (rf"On the (?P<r>{NAME}), you see (?P<things>[^.]*)\.", r"{r}: {things}"),
        (rf"The (?P<r>{NAME}) is closed\.", r"{r} closed"),
        (rf"You close the (?P<r>{NAME})\.", r"{r} closed"),
        (rf"You pick up the (?P<o>{NAME}) from the (?P<r>{NAME})\.", r"took {o} from {r}"),
        (rf"You (?:move|put) the (?P<o>{NAME}) (?:to|in/on) the (?P<r>{NAME})\.", r"put {o} on {r}"),
        (rf"You (?P<verb>heat|cool) the (?P<o>{NAME}) using the (?P<r>{NAME})\.", r"{verb}ed {o} with {r}"),
        (rf"You clean the (?P<o>{NAME}) using the (?P<r>{NAME})\.", r"cleaned {o} with {r}"),
        (rf"You turn (?P<state>on|off) the (?P<o>{NAME})\.", r"{o} {state}"),
        (rf"You are facing the (?P<things>{NAME}[^.]*)\. Next to it, you see (?P<r>nothing)\.", r"facing {things}"),
        (r"You are carrying: (?P<things>[^.]*)\.", r"carrying {things}"),
        (r"You are not carrying anything\.", r"carrying nothing"),
        (r"Nothing happens\.", r"nothing happens"),
    )
)


def shorten(text: str) -> str:
    """The same facts in fewer words. A task sentence alone, and any text not of the household, stays as it is."""
    text = _WELCOME.sub("", text.strip())
    text = _ROOM.sub(lambda found: f"room: {grouped(found['things'])}", text)
    text = _TASK.sub(lambda found: f"task: {found['task']}", text)
    for pattern, short in _RULES:
        text = pattern.sub(lambda found, short=short: _fill(short, found), text)  # type: ignore[misc]
    return text


def general(text: str) -> str:
    """Without the numbers that tell one sofa from another."""
    return _NUMBERED.sub("", text)


def grouped(things: str) -> str:
    """A listing with instance numbers gathered under their class, in the order in which the classes appear; three or
    more numbers in a row become a range."""
    names = _LISTED.findall(things)
    if not names:
        return things
    numbers: dict[str, list[int]] = {}
    for name in names:
        thing, number = name.rsplit(" ", 1)
        numbers.setdefault(thing, []).append(int(number))
    return ", ".join(f"{thing} {' '.join(_ranges(sorted(found)))}" for thing, found in numbers.items())


def _ranges(numbers: list[int]) -> list[str]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [f"{run[0]}-{run[-1]}" if len(run) > 2 else " ".join(map(str, run)) for run in runs]


def _fill(short: str, found: re.Match[str]) -> str:
    parts = found.groupdict()
    if "things" in parts:
        parts["things"] = grouped(parts["things"])
    return short.format(**parts)
