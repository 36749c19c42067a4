"""A game as a person watches it: line by line, or on a terminal as a panel that changes with every action."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from duomem_mlx.cli.output import spelt

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from duomem_mlx.memory.why import Reason
    from duomem_mlx.student.episodes import Turn

Seen = Mapping[str, Sequence[str]]  # place -> what lies there
BESIDE = 50  # cells that a game needs to stand beside another one
FEWEST = 4  # actions that are shown however small the terminal is
AROUND = 7  # lines of a panel that are neither memories, actions nor places
LARGEST = 3  # words that count most, of those that a memory is told by


@dataclass
class Watched:
    """A game in one arm, as far as it went."""

    arm: str  # empty where there is one alone
    game: str
    task: str
    opening: str
    reasons: Sequence["Reason"]
    turns: list["Turn"] = field(default_factory=list)
    seen: Seen = field(default_factory=dict)
    verdict: str = ""

    @property
    def seconds(self) -> float:
        return sum(turn.seconds for turn in self.turns)

    @property
    def tokens(self) -> int:
        """Computed: read anew and written."""
        return sum(turn.tokens_new + turn.tokens_out for turn in self.turns)

    @property
    def spent(self) -> str:
        rate = f" ({self.tokens / self.seconds:.0f} tokens/s)" if self.seconds else ""
        return f"{len(self.turns)} actions, {self.seconds:.1f} s, {self.tokens} tokens computed{rate}"


class Screen(Protocol):
    """What shows games, one after the other."""

    def begins(self, watched: Watched) -> None: ...

    def acted(self, watched: Watched) -> None:
        """The last of its turns is new."""

    def ends(self, watched: Watched) -> None: ...

    def close(self) -> None: ...


def why(reason: "Reason", all_words: bool) -> str:
    """The words in common; and, where they were weighed, those without which the cosine falls most."""
    words = f"in common: {', '.join(reason.matched) or 'no word'}"
    if not reason.weights:
        return words
    largest = sorted(reason.weights, key=lambda pair: -pair[1])
    told = ", ".join(f"{word} {fall:+.2f}" for word, fall in (largest if all_words else largest[:LARGEST]))
    return f"{words}; counts most: {told}"


class Lines:
    """Everything in the order in which it happens, for a pipe or a log."""

    def __init__(self, show: Callable[[str], None], explain: bool) -> None:
        self._show, self._explain = show, explain

    def begins(self, watched: Watched) -> None:
        if watched.arm:
            self._show(f"\n── {watched.arm} ──")
        self._show(f"Game     {watched.game}")
        self._show(f"Task     {watched.task}")
        for reason in watched.reasons:
            memory = reason.hit.memory
            self._show(f"Memory   {reason.hit.cosine:.3f}  {memory.task}: {memory.script}")
            if self._explain:
                self._show(f"  why    {why(reason, all_words=True)}")
        self._show("")
        self._show(watched.opening.strip())

    def acted(self, watched: Watched) -> None:
        turn = watched.turns[-1]
        marks = f"   ({', '.join(turn.flags)})" if turn.flags else ""
        self._show(f"\n> {turn.said}{marks}")
        self._show(turn.outcome.strip())

    def ends(self, watched: Watched) -> None:
        if self._explain:
            self._show("")
            for place, things in watched.seen.items():
                self._show(f"Seen     {place}: {', '.join(things) or 'nothing'}")
        self._show(f"\n{watched.verdict} after {watched.spent}.")

    def close(self) -> None:
        pass


class Panels:
    """On a terminal: a panel a game, side by side where there is room, and all of it once more when it is over."""

    def __init__(self, console: "Console", explain: bool) -> None:
        self._console, self._explain = console, explain
        self._games: list[Watched] = []
        self._live: Any = None

    def begins(self, watched: Watched) -> None:
        from rich.live import Live

        self._games.append(watched)
        self._live = Live(self._drawn(), console=self._console, transient=True, auto_refresh=False)
        self._live.start(refresh=True)

    def acted(self, watched: Watched) -> None:
        self._live.update(self._drawn(), refresh=True)

    def ends(self, watched: Watched) -> None:
        self._stop()

    def close(self) -> None:
        """Also after Ctrl-C: what was played stays on the terminal."""
        self._stop()
        if self._games:
            self._console.print(self._together([self._panel(game, None) for game in self._games]))

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _drawn(self) -> "RenderableType":
        """The row of the game that is being played. To its right there is room for the ^C that a terminal writes where
        the cursor is: on a line of its own it would shift what is to be taken away again."""
        from rich.constrain import Constrain

        last = (len(self._games) - 1) // self._in_a_row * self._in_a_row
        row = self._together([self._panel(game, self._console.height - 1) for game in self._games[last:]])
        return Constrain(row, self._console.width - len("^C"))

    @property
    def _in_a_row(self) -> int:
        return max(1, self._console.width // BESIDE)

    def _together(self, panels: Sequence["RenderableType"]) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table

        rows = []
        for begin in range(0, len(panels), self._in_a_row):
            beside = panels[begin : begin + self._in_a_row]
            grid = Table.grid(expand=True)
            for _ in beside:
                grid.add_column(ratio=1)
            grid.add_row(*beside)
            rows.append(grid)
        return Group(*rows)

    def _panel(self, watched: Watched, height: int | None) -> "RenderableType":
        """`height`: lines there are for it; None for as many as it takes."""
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        parts: list[RenderableType] = [Text(spelt(watched.task), style="bold")]
        places = list(watched.seen.items())
        memories, lines = self._memories(watched.reasons, self._explain), None
        if height is not None:
            if self._explain and self._lines(memories) > height // 2:  # what comes after them is what changes
                memories = self._memories(watched.reasons, False)
            rest = max(FEWEST, height - AROUND - self._lines(memories))
            places = places[-max(0, (rest - FEWEST) // 3) :] if rest > FEWEST + 2 else []
            lines = max(FEWEST, rest - len(places)) // 2
        parts += [memories, self._actions(watched, lines)]
        if places:
            parts.append(self._places(places, len(watched.seen), cut=height is not None))
        state = watched.verdict or ("reading the prompt" if not watched.turns else "playing")
        style = {"W": "green", "N": "red"}.get(watched.verdict[:1], "blue")
        title = spelt(f"{watched.arm}: {state}" if watched.arm else f"{state} · {watched.game}")
        subtitle = Text(watched.spent, no_wrap=True, overflow="ellipsis")
        return Panel(Group(*parts), title=Text(title), subtitle=subtitle, border_style=style, height=height)

    def _lines(self, part: "RenderableType") -> int:
        """How many lines it takes inside of a panel."""
        console = self._console
        width = console.width // min(self._in_a_row, len(self._games) or 1) - 6  # a frame, and room to the right
        return len(console.render_lines(part, console.options.update(width=width)))

    def _memories(self, reasons: Sequence["Reason"], explain: bool) -> "RenderableType":
        from rich.text import Text

        rows = _hanging()
        for reason in reasons:
            text = Text(no_wrap=not explain, overflow="ellipsis")
            text.append(spelt(reason.hit.memory.task))
            text.highlight_words([spelt(word) for word in reason.matched], style="bold cyan", case_sensitive=False)
            text.append(f"\n{spelt(why(reason, explain))}", style="dim")
            if explain:
                text.append(f"\n{spelt(' '.join(reason.hit.memory.script.split()))}")
            rows.add_row(Text(f"{reason.hit.cosine:.3f}", style="cyan"), text)
        return rows

    def _actions(self, watched: Watched, lines: int | None) -> "RenderableType":
        from rich.text import Text

        rows = _hanging()
        rows.add_row("", "")
        turns = watched.turns if lines is None else watched.turns[-lines:]
        first = len(watched.turns) - len(turns) + 1
        for number, turn in enumerate(turns, first):
            text = Text(no_wrap=lines is not None, overflow="ellipsis")
            text.append(spelt(" ".join(turn.said.split())), style="bold")
            text.append(f"  {', '.join(turn.flags)}" if turn.flags else "", style="red")
            text.append(f"\n{spelt(' '.join(turn.outcome.split()))}", style="dim" if turn.flags else "default")
            rows.add_row(Text(f"{number:>2} >", style="bold"), text)
        return rows

    def _places(self, places: Sequence[tuple[str, Sequence[str]]], all_of_them: int, cut: bool) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        more = f" (the last {len(places)} of {all_of_them})" if len(places) < all_of_them else ""
        rows = _hanging()
        for place, things in places:
            told = Text(spelt(", ".join(things)) or "nothing", overflow="ellipsis", no_wrap=cut)
            rows.add_row(Text(spelt(place), style="magenta"), told)
        return Group(Text(f"\nseen{more}", style="bold"), rows)


def _hanging() -> "Table":
    """Rows of a mark and a text that stays to the right of it, on however many lines."""
    from rich.table import Table

    rows = Table.grid(padding=(0, 2, 0, 0), expand=True)
    rows.add_column(no_wrap=True)
    rows.add_column(ratio=1)
    return rows


def screen_for(json: bool, explain: bool) -> Screen:
    """Panels where a person watches on a terminal, else lines: on standard error with `json`."""
    import sys

    from duomem_mlx.cli import output

    if not json and sys.stdout.isatty():
        from rich.console import Console

        return Panels(Console(), explain)
    return Lines(output.say if json else output.line, explain)
