"""Games of unknown rules: what is handed to TextWorld, and what is refused before."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from duomem_mlx.errors import DuomemWarning
from duomem_mlx.household.environment import household
from duomem_mlx.household.files import GAME_FILE, GameFile, read_game_file, with_task
from duomem_mlx.household.foreign import fault_of
from duomem_mlx.household.generator import generate
from tests.household.rooms import PROBLEM, write_game

DOMAIN = """; ALFWorld's, with a closing bracket here :)
(define (domain alfred)
 (:requirements :adl)
 (:types agent object))
"""
GRAMMAR = 'grammar :: """\n {"task": [{"rhs": "Your task is to: rest."}]}\n""";\naction look { template :: "look"; }\n'
WHOLE = GameFile(DOMAIN, GRAMMAR, PROBLEM)


def test_a_whole_game_has_no_fault() -> None:
    assert fault_of(WHOLE) is None
    assert fault_of(replace(WHOLE, domain=DOMAIN.upper(), grammar=GRAMMAR * 2)) is None


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (replace(WHOLE, domain=DOMAIN.replace("alfred", "logistics")), "no household game"),
        (replace(WHOLE, domain=""), "no household game"),
        (replace(WHOLE, domain=DOMAIN[:-3]), "domain is torn"),
        (replace(WHOLE, domain=DOMAIN + ")"), "domain is torn"),
        (replace(WHOLE, domain=DOMAIN + DOMAIN), "domain is torn"),
        (replace(WHOLE, domain=DOMAIN + "rest"), "domain is torn"),
        (replace(WHOLE, domain=DOMAIN[:-2] + "(" * 100 + ")" * 101), "domain is torn"),
        (replace(WHOLE, domain=DOMAIN + "; \x1b[2J"), "domain holds characters"),
        (replace(WHOLE, domain=DOMAIN + " " * 2_000_000), "domain is longer"),
        (replace(WHOLE, problem=PROBLEM[:-3]), "problem is torn"),
        (replace(WHOLE, problem=PROBLEM.replace("alfred", "logistics")), "none of the domain alfred"),
        (replace(WHOLE, problem=PROBLEM.replace("small", "smäll")), "problem holds characters"),
        (replace(WHOLE, grammar=""), "grammar is torn"),
        (replace(WHOLE, grammar=GRAMMAR.replace("]}", "]")), "grammar is torn"),
        (replace(WHOLE, grammar=GRAMMAR.replace('{"task', "[" * 100_000 + '{"task')), "grammar is torn"),
        (replace(WHOLE, grammar=GRAMMAR[:40]), "grammar is torn"),
        (replace(WHOLE, grammar=GRAMMAR.replace("rest", "\x07")), "grammar holds characters"),
    ],
)
def test_what_nothing_could_play_is_told_at_once(file: GameFile, words: str) -> None:
    begin = time.process_time()
    assert words in str(fault_of(file))
    assert time.process_time() - begin < 1


@pytest.mark.usefixtures("textworld_installed")
def test_rules_changed_by_a_word_are_played_by_textworld(tmp_path: Path) -> None:
    from duomem_mlx.household.textworld_engine import TextWorldGame, installed_rules

    domain, grammar = installed_rules()
    grammar = with_task(grammar, generate(2).task_line).replace("You open the", "You slowly open the")
    trial = write_game(tmp_path / "trial", seed=2, pddl_domain=domain, grammar=grammar)
    assert fault_of(read_game_file(trial / GAME_FILE)) is None

    with pytest.warns(DuomemWarning, match="TextWorld plays it"):
        game = household(tmp_path).open(str(trial))
    assert isinstance(game, TextWorldGame)
    assert game.reset() == household().open("generated:2").reset()
