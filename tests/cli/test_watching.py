"""The panel of a game on a terminal, drawn into a string."""

import io
from typing import Any

import pytest
from rich.console import Console

from duomem_mlx.cli.watching import Panels, Watched
from duomem_mlx.memory.ranking import Hit
from duomem_mlx.memory.why import Reason
from duomem_mlx.prompt import Reply
from duomem_mlx.student.episodes import Turn

from ..memory.hashing import memory

SEEN = {"in hand": ["mug 1"], "shelf 1": ["pen 1", "pen 2"], "bed 1": []}


def turn(action: str, outcome: str = "Taken.", *flags: str) -> Turn:
    return Turn("g", "", Reply(action), action, outcome, flags, 30, 100, 6, 0.5, None)


def watched(arm: str = "", turns: int = 3, verdict: str = "") -> Watched:
    reason = Reason(Hit(memory("put some [red]mug[/red] on desk"), 0.912), ("put", "desk"), (("mug", 0.3), ("a", 0.0)))
    played = [
        turn(f"act {n}", "Nothing happens." if n % 2 else "Done.", *(["refused"] * (n % 2))) for n in range(turns)
    ]
    return Watched(arm, "generated:3", "put a mug\x1b[2J on desk", "You see a desk.", [reason], played, SEEN, verdict)


def drawn(width: int, height: int, *games: Watched, explain: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    panels = Panels(console, explain)
    for game in games:
        panels.begins(game)
        panels.acted(game)
        panels.ends(game)
    file: Any = console.file
    file.seek(0)
    file.truncate()
    panels.close()
    return str(file.getvalue())


def test_all_of_a_game_stands_there_when_it_is_over() -> None:
    text = drawn(80, 24, watched(turns=40, verdict="Won"))
    assert "Won · generated:3" in text
    assert all(f">  act {n}" in text for n in range(40))
    assert "0.912  put some [red]mug[/red] on desk" in text  # no markup, no control characters
    assert "in common: put, desk" in text
    assert "\x1b[2J" not in text
    assert "in hand" in text
    assert "pen 1, pen 2" in text
    assert "40 actions, 20.0 s, 1440 tokens computed (72 tokens/s)" in text


@pytest.mark.parametrize(("width", "together"), [(140, True), (80, False)])
def test_two_arms_stand_side_by_side_where_there_is_room(width: int, together: bool) -> None:
    text = drawn(width, 40, watched("base", verdict="Not won (steps)"), watched("duomem", verdict="Won"))
    assert any("base: " in line and "duomem: " in line for line in text.splitlines()) == together


def test_four_arms_stand_in_rows_of_as_many_as_fit() -> None:
    games = [watched(arm, verdict="Won") for arm in ("base", "memories", "adapter", "duomem")]
    titles = [line for line in drawn(120, 40, *games).splitlines() if ": Won" in line]
    assert [line.count(": Won") for line in titles] == [2, 2]


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_shows_the_verdict_and_texts_stay_right_of_their_marks(width: int) -> None:
    one = watched(turns=0, verdict="Not won (steps)")
    one.game = "train/" + "a-long-name-" * 9
    one.turns.append(turn("look", "You see " + "a mug 1, " * 20))
    text = drawn(width, 24, one, explain=True)
    assert "Not won (steps) · train/" in text.splitlines()[0]
    assert all(len(line) <= width for line in text.splitlines())
    whole = [line.strip("│ ") for line in text.splitlines()]
    begin = whole.index("1 >  look")
    for line in text.splitlines()[begin + 1 : whole.index("", begin)]:
        assert line.startswith("│       ")


def test_memories_explained_at_length_leave_room_for_the_game() -> None:
    one = watched(turns=30)
    one.reasons = [*one.reasons] * 4
    console = Console(file=io.StringIO(), width=60, height=24, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(Panels(console, explain=True)._panel(one, 23))
    assert ">  act 29" in capture.get()


@pytest.mark.parametrize("height", [10, 24, 50])
def test_while_it_is_played_it_keeps_to_the_height_of_the_terminal_and_shows_the_last_action(height: int) -> None:
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(Panels(console, explain=True)._panel(watched(turns=30), height - 1))
    lines = capture.get().splitlines()
    assert len(lines) <= max(height - 1, 10)
    assert height < 24 or any(">  act 29" in line for line in lines)


def test_what_is_taken_away_again_leaves_room_for_what_ctrl_c_writes() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    panels = Panels(console, explain=True)
    panels._games.append(watched(turns=30))
    lines = console.render_lines(panels._drawn(), pad=False)
    assert {sum(segment.cell_length for segment in line) for line in lines} == {78}
