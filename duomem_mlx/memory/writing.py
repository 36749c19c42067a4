"""What a language model does for a bank: writing scripts, rewriting them after a failure, finding key facts.

`direct` asks once for a paragraph; `rounds` asks for the events, then for those that mattered, then for the paragraph
(both as in MemP, arXiv 2508.06433, section 3). What comes back is untrusted: it is cut, and named in general terms.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from duomem_mlx.errors import DuomemError
from duomem_mlx.memory.growth import Rewrite
from duomem_mlx.memory.keys import Facts, without_numbers
from duomem_mlx.memory.record import Memory
from duomem_mlx.memory.scripts import Write
from duomem_mlx.paths import append_json, digest, mend_tail
from duomem_mlx.prompt import unchanged
from duomem_mlx.trajectory import Trajectory

Ask = Callable[[str], str]  # a question to a model -> its answer, without its thoughts
General = Callable[[str], str]  # a text -> the same without what tells one thing from another of its kind

DIRECT, ROUNDS = WAYS = ("direct", "rounds")

FACTS_PROMPT = "facts-2"  # names what a finder asks; with another question facts would be of another kind

_MAX_SCRIPT_CHARACTERS = 1200
_MAX_FACTS_CHARACTERS = 200
_MAX_PLAYED_CHARACTERS = 24_000

_DIRECT = """\
Below is how one task was done. Write, for somebody who has a task like it elsewhere, how to go about it: one \
paragraph, at most 90 words, in the imperative. Leave out detours and what holds in this case alone, such as names \
that nobody else will meet. Say what comes first, and what to do when it does not lead on. {advice}Write the paragraph \
and nothing else.

{played}"""

_EVENTS = """\
Below is how one task was done. List what happened that brought the task forward or showed how to go on, one short \
line each, in order, and nothing else.

{played}"""

_CRITICAL = """\
The task was: {task}
What happened:
{events}

Which of these would somebody with a similar task elsewhere have to do too? Answer with those lines alone, in order, \
in general terms. {advice}"""

_PARAGRAPH = """\
The task was: {task}
What has to be done:
{critical}

Write this as advice to somebody who has a task like it elsewhere: one paragraph, at most 90 words, in the \
imperative, with what to do when the first steps do not lead on. {advice}Write the paragraph and nothing else."""

_REWRITE = """\
This advice was given for tasks like: {task}

{script}

It was followed below, and the task was not done. Write the advice anew so that it helps in both: one paragraph, at \
most 90 words, in the imperative, in general terms. {advice}Nothing but the paragraph.

{played}"""

_FACTS = """\
A task, and what is told first. Name what decides how to go about it: what is to be done, to what kind of thing, in \
what kind of place or with what. At most 12 words, on one line, in general terms and without numbers. Write that line \
and nothing else.

Task: {task}

{opening}"""


class NoScript(DuomemError):
    """The model's answer had nothing in it."""


def writer(ask: Ask, way: str = DIRECT, general: General = unchanged, advice: str = "") -> Write:
    """A writer of scripts, for `memory_of`, in the terms that `general`, the world's own, puts them in; `advice` is
    what the world has to say of how they are worded. It raises NoScript when a model's answer has nothing in it."""
    more = _sentence(advice)

    def direct(trajectory: Trajectory) -> str:
        return _script(ask(_DIRECT.format(played=_played(trajectory), advice=more)), trajectory, general)

    def rounds(trajectory: Trajectory) -> str:
        events = ask(_EVENTS.format(played=_played(trajectory))).strip()
        critical = ask(_CRITICAL.format(task=trajectory.task, events=events, advice=more).strip()).strip()
        asked = _PARAGRAPH.format(task=trajectory.task, critical=critical, advice=more)
        return _script(ask(asked), trajectory, general)

    return {DIRECT: direct, ROUNDS: rounds}[way]


def rewriter(ask: Ask, general: General = unchanged, advice: str = "") -> Rewrite:
    """A rewriter of memories, for `growth.learn`, in the terms of `general`, `advice` as in `writer`; blank when the
    model said nothing."""
    more = _sentence(advice)

    def rewrite(memory: Memory, trajectory: Trajectory) -> str:
        question = _REWRITE.format(task=memory.task, script=memory.script, advice=more, played=_played(trajectory))
        return _tidy(ask(question), general)

    return rewrite


def finder(ask: Ask) -> Facts:
    """A finder of key facts, for `key_of`; it asks for every game once, and gives blank facts for a blank answer."""

    @cache
    def find(task: str, opening: str) -> str:
        played = opening.strip()[:_MAX_PLAYED_CHARACTERS]
        return without_numbers(ask(_FACTS.format(task=task, opening=played)))[:_MAX_FACTS_CHARACTERS]

    return find


def remembered(ask: Ask, name: str, journal: Path) -> Ask:
    """The same model, but what it answered is kept in a JSON Lines file and never asked for again.

    `name` says who answers; another's answers in the same file are left alone. The file is read when first asked.
    Raises DuomemError when it is damaged or the disk refuses.
    """

    @cache
    def known() -> dict[str, str]:
        return _journaled(journal)

    def look_up(question: str) -> str:
        key = digest([name, question])[:32]
        if key not in known():
            answer = ask(question)
            append_json(journal, [{"format": 1, "key": key, "answer": answer}])
            known()[key] = answer
        return known()[key]

    return look_up


def _journaled(journal: Path) -> dict[str, str]:
    mend_tail(journal)
    answers = dict[str, str]()
    if journal.is_file():
        for line in journal.read_bytes().splitlines():
            try:
                record = json.loads(line)
                answers[str(record["key"])] = str(record["answer"])
            except (ValueError, KeyError, TypeError):
                raise DuomemError(f"{journal} is damaged.", "Remove it; what it holds is then asked anew.") from None
    return answers


def _played(trajectory: Trajectory) -> str:
    turns = "\n".join(f"> {step.action}\n{step.observation.strip()}" for step in trajectory.steps)
    text = f"Task: {trajectory.task}\n\n{trajectory.opening.strip()}\n{turns}"
    if len(text) <= _MAX_PLAYED_CHARACTERS:
        return text
    half = _MAX_PLAYED_CHARACTERS // 2
    return f"{text[:half]}\n[...]\n{text[-half:]}"


def _sentence(advice: str) -> str:
    return f"{advice.strip()} " if advice.strip() else ""


def _script(answer: str, trajectory: Trajectory, general: General) -> str:
    script = _tidy(answer, general)
    if not script:
        raise NoScript(f"The model wrote no script for {trajectory.game}.", "Try another model or --writer plain.")
    return script


def _tidy(answer: str, general: General) -> str:
    script = general(" ".join(answer.strip().strip("`\"'").split()))
    if len(script) <= _MAX_SCRIPT_CHARACTERS:
        return script
    whole, stop, _ = script[:_MAX_SCRIPT_CHARACTERS].rpartition(". ")
    return f"{whole}." if stop else script[:_MAX_SCRIPT_CHARACTERS]
