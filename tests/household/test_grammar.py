"""The grammar of commands: everything that can be done is in it, once its names were seen."""

import random
import re

import pytest

from duomem_mlx import open_game
from duomem_mlx.household.grammar import commands
from duomem_mlx.household.wording import NAME

VERBS = r"^(go to|[a-z]+) "


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_possible_and_over_names_seen_is_in_it(seed):
    game = open_game(f"generated:{seed}")
    told = [game.reset()]
    rng = random.Random(seed)
    for _ in range(25):
        possible = [one for one in game.valid_commands() if one != "help" and not one.startswith("slice")]
        seen = set(re.findall(NAME, " ".join(told)))
        named = {one for one in possible if seen.issuperset(re.findall(rf"(?<=\b){NAME}", re.sub(VERBS, "", one)))}
        assert named - set(commands(told)) == set()
        assert len(named) > len(possible) / 2
        told.append(game.step(rng.choice(possible)))


def test_nothing_is_in_it_that_was_not_seen():
    text = "You are in the middle of a room. Looking quickly around you, you see a bed 1, and a desk 2."
    assert commands([text]) == sorted(
        [
            "look",
            "inventory",
            *(f"{verb} {place}" for verb in ("go to", "open", "close", "examine") for place in ("bed 1", "desk 2")),
        ]
    )
    assert "take mug 3 from desk 2" in commands([text, "On the desk 2, you see a mug 3."])
