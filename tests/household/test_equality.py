"""The fast engine says what TextWorld says: a sample. `scripts/check_engine.py` plays hundreds of games."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from duomem_mlx.environment import ordered
from duomem_mlx.household import files
from duomem_mlx.household.environment import Household
from tests.household.rooms import PROBLEM, small_game
from tests.household.test_engine import PLAY

pytestmark = pytest.mark.usefixtures("textworld_installed")

CHECKOUT = Path(__file__).parents[2]
OLD_RULES = CHECKOUT.parent / "shared" / "alfworld" / "logic-2.1.1"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return importlib.import_module("check_engine")


def test_the_small_room_is_played_alike() -> None:
    from duomem_mlx.household.textworld_engine import TextWorldGame, installed_rules

    fast = small_game()
    domain, grammar = installed_rules()
    file = files.GameFile(domain, files.with_task(grammar, f"Your task is to: {fast.task}."), PROBLEM)
    reference = TextWorldGame(file, "small", "")

    assert fast.task == reference.task
    assert fast.reset() == reference.reset()
    for command, _ in PLAY:
        assert fast.step(command) == reference.step(command), command
        assert fast.valid_commands() == reference.valid_commands(), command
        assert (fast.won, fast.done) == (reference.won, reference.done), command
    assert fast.step("look") == reference.step("look")


@pytest.mark.parametrize(("seed", "policy"), [(40, "random"), (41, "walkthrough"), (42, "nonsense"), (43, "rewind")])
def test_generated_games_are_played_alike(script: ModuleType, seed: int, policy: str) -> None:
    game_id = f"generated:{seed}"
    file, _ = script.read(Household(), game_id)

    outcome = script.compare(script.Job(game_id, file, None, policy, 15, 0))
    assert outcome.difference == ""
    assert outcome.steps == 15


@pytest.mark.parametrize(("place", "policy"), [*enumerate(["expert", "walkthrough", "random", "nonsense"])])
@pytest.mark.parametrize("rules", ["own", "put"])
def test_alfworlds_games_are_played_alike(
    script: ModuleType, alfworld_data: Path, place: int, policy: str, rules: str
) -> None:
    household = Household(alfworld_data)
    game_id = ordered(household, "valid_seen")[place if rules == "own" else -place - 1]
    file, folder = script.read(household, game_id)
    if rules == "put":
        if not OLD_RULES.is_dir():
            pytest.skip(f"ALFWorld 2.1.1's rules are not at {OLD_RULES}")
        file = script.old_rules(file, OLD_RULES)

    outcome = script.compare(script.Job(game_id, file, folder, policy, 15, 0))
    assert outcome.difference == ""
    assert outcome.steps == 15
