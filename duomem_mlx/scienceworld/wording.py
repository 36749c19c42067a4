"""ScienceWorld's texts in fewer words: every thing stays, its name and its state too.

This room is called the kitchen. In it, you see:        →   kitchen: chair (empty); oven off closed
    the agent                                               doors: hallway, outside closed
    a chair. On the chair is: nothing.
    …
"""

import re

_ROOM = re.compile(r"This (?:room|outside location) is called the (?P<room>[^.\n]+)\. (?:In it, you|Here you) see: *")
_DOOR = re.compile(r"A door to the (?P<room>.+) \(that is (?P<state>open|closed)\)")
_TASK = re.compile(r"Your task is to (?P<task>.*)", re.DOTALL)
_ALSO = "You also see:"
_ALWAYS = ("the agent", "a substance called air")  # in every place

_NAMED = r"(?P<a>[^.,;()]+?)(?P<s> (?:on|off))?\. "  # a thing with its state, before a sentence about it

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), short)
    for pattern, short in (
        (r"\b(?:[Aa]n?|[Tt]he) substance called ", ""),
        (r", which is (?:turned )?", " "),
        (r"(?<![\w-])(?:[Aa]n?|[Tt]he) (?=\w)", ""),
        (rf"{_NAMED}(?:On|In) (?P=a) is: nothing\.", r"\g<a>\g<s> (empty)"),
        (rf"{_NAMED}(?:On|In) (?P=a) is: (?P<things>[^.]*)\.", r"\g<a>\g<s> (\g<things>)"),
        (rf"{_NAMED}(?P=a) door is (?P<state>open|closed)\.", r"\g<a>\g<s> \g<state>"),
        (r"\(containing nothing\)", "(empty)"),
        (r"\(containing ", "("),
        (r", currently reading (?:a )?temperature of (?P<t>-?\d+) degrees celsius", r" at \g<t> degrees"),
        (r"\bdegrees celsius\b", "degrees"),
        (r"^You move to ", "at "),
        (r" +", " "),
    )
)


def shorten(text: str) -> str:
    """The same facts in fewer words; the air and the agent, which are everywhere, are left out of a look around."""
    told = _TASK.fullmatch(text.strip())
    if told is not None:
        task, *look = told["task"].split("\n", 1)
        return "\n".join([f"task: {task.strip()}", *map(shorten, look)])
    lines, things, doors = list[str](), list[str](), list[str]()
    room = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if (found := _ROOM.fullmatch(line)) is not None:
            room = found["room"]
        elif (door := _DOOR.fullmatch(line)) is not None:
            doors.append(door["room"] + (" closed" if door["state"] == "closed" else ""))
        elif room and line in (_ALSO, *_ALWAYS):
            continue
        else:
            (things if room else lines).append(_shortened(line))
    if room:
        lines.append(f"{room}: {'; '.join(things)}")
    if doors:
        lines.append(f"doors: {', '.join(doors)}")
    return "\n".join(lines)


def _shortened(line: str) -> str:
    for pattern, short in _RULES:
        line = pattern.sub(short, line)
    return line.strip().removesuffix(".").rstrip()
