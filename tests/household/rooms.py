"""A room small enough to read, and game files made without ALFWorld's own rules."""

import importlib.util
import json
from pathlib import Path

from duomem_mlx.household import logic
from duomem_mlx.household.engine import FastGame
from duomem_mlx.household.generator import generate
from duomem_mlx.household.reader import goal_text, read_problem

# Two drawers and a shelf are reached from one spot, the sink lies in another; the second pen is in the shelf and,
# as in some of ALFWorld's rooms, in the drawer at once.
PROBLEM = f"""
(define (problem small)
(:domain alfred)
(:objects
        agent1 - agent
        PenType - otype
        MugType - otype
        KnifeType - otype
        AppleType - otype
        DeskLampType - otype
        BoxType - otype
        DrawerType - rtype
        ShelfType - rtype
        SinkBasinType - rtype
        FridgeType - rtype
        Pen_bar__plus_00_dot_10 - object
        Pen_bar__plus_00_dot_20 - object
        Mug_bar__plus_00_dot_30 - object
        Knife_bar__plus_00_dot_40 - object
        Apple_bar__plus_00_dot_50 - object
        DeskLamp_bar__plus_00_dot_60 - object
        Box_bar__plus_00_dot_70 - object
        Chair_bar__plus_00_dot_80 - object
        Drawer_bar__plus_01_dot_00 - receptacle
        Drawer_bar__plus_02_dot_00 - receptacle
        Shelf_bar__plus_03_dot_00 - receptacle
        Sink_bar__plus_04_dot_00_bar_SinkBasin - receptacle
        Fridge_bar__plus_05_dot_00 - receptacle
        loc_bar_0 - location
        loc_bar_1 - location
        loc_bar_2 - location
        loc_bar_3 - location
        )
(:init
        (receptacleType Drawer_bar__plus_01_dot_00 DrawerType)
        (receptacleType Drawer_bar__plus_02_dot_00 DrawerType)
        (receptacleType Shelf_bar__plus_03_dot_00 ShelfType)
        (receptacleType Sink_bar__plus_04_dot_00_bar_SinkBasin SinkBasinType)
        (receptacleType Fridge_bar__plus_05_dot_00 FridgeType)
        (objectType Pen_bar__plus_00_dot_10 PenType)
        (objectType Pen_bar__plus_00_dot_20 PenType)
        (objectType Mug_bar__plus_00_dot_30 MugType)
        (objectType Knife_bar__plus_00_dot_40 KnifeType)
        (objectType Apple_bar__plus_00_dot_50 AppleType)
        (objectType DeskLamp_bar__plus_00_dot_60 DeskLampType)
        (objectType Box_bar__plus_00_dot_70 BoxType)
        (canContain DrawerType PenType)
        (canContain DrawerType KnifeType)
        (canContain ShelfType PenType)
        (canContain ShelfType MugType)
        (canContain SinkBasinType MugType)
        (canContain FridgeType AppleType)
        (pickupable Pen_bar__plus_00_dot_10)
        (pickupable Pen_bar__plus_00_dot_20)
        (pickupable Mug_bar__plus_00_dot_30)
        (pickupable Knife_bar__plus_00_dot_40)
        (pickupable Apple_bar__plus_00_dot_50)
        (isReceptacleObject Box_bar__plus_00_dot_70)
        (isReceptacleObject Mug_bar__plus_00_dot_30)
        (cleanable Mug_bar__plus_00_dot_30)
        (cleanable Apple_bar__plus_00_dot_50)
        (coolable Apple_bar__plus_00_dot_50)
        (sliceable Apple_bar__plus_00_dot_50)
        (toggleable DeskLamp_bar__plus_00_dot_60)
        (openable Drawer_bar__plus_01_dot_00)
        (openable Fridge_bar__plus_05_dot_00)
        (atLocation agent1 loc_bar_0)
        (inReceptacle Pen_bar__plus_00_dot_10 Drawer_bar__plus_01_dot_00)
        (inReceptacle Pen_bar__plus_00_dot_20 Drawer_bar__plus_02_dot_00)
        (inReceptacle Pen_bar__plus_00_dot_20 Shelf_bar__plus_03_dot_00)
        (inReceptacle DeskLamp_bar__plus_00_dot_60 Shelf_bar__plus_03_dot_00)
        (inReceptacle Knife_bar__plus_00_dot_40 Shelf_bar__plus_03_dot_00)
        (inReceptacle Mug_bar__plus_00_dot_30 Sink_bar__plus_04_dot_00_bar_SinkBasin)
        (inReceptacle Box_bar__plus_00_dot_70 Sink_bar__plus_04_dot_00_bar_SinkBasin)
        (inReceptacle Apple_bar__plus_00_dot_50 Fridge_bar__plus_05_dot_00)
        (inReceptacleObject Chair_bar__plus_00_dot_80 Box_bar__plus_00_dot_70)
        (receptacleAtLocation Drawer_bar__plus_01_dot_00 loc_bar_1)
        (receptacleAtLocation Drawer_bar__plus_02_dot_00 loc_bar_1)
        (receptacleAtLocation Shelf_bar__plus_03_dot_00 loc_bar_1)
        (receptacleAtLocation Sink_bar__plus_04_dot_00_bar_SinkBasin loc_bar_2)
        (receptacleAtLocation Fridge_bar__plus_05_dot_00 loc_bar_3)
        (objectAtLocation Pen_bar__plus_00_dot_10 loc_bar_1)
        (objectAtLocation Pen_bar__plus_00_dot_20 loc_bar_1)
        (objectAtLocation Knife_bar__plus_00_dot_40 loc_bar_1)
        (objectAtLocation Mug_bar__plus_00_dot_30 loc_bar_2)
        (objectAtLocation Apple_bar__plus_00_dot_50 loc_bar_3)
        )
{goal_text("pick_two_obj_and_place", "PenType", "DrawerType")}
)
"""

DOMAIN = "(define (domain alfred))"
GRAMMAR = 'grammar :: """{"task": [{"rhs": "Your task is to: UNKNOWN GOAL."}]}""";'


def small_game(rules: logic.Generation = logic.MOVE, problem: str = PROBLEM) -> FastGame:
    return FastGame(read_problem(problem), rules, "Your task is to: find two pen and put them in drawer.", "small", "")


def know_these_rules(monkeypatch) -> None:
    """Let the fast engine take DOMAIN and GRAMMAR for ALFWorld's."""
    digests = (logic._digest(DOMAIN), logic._digest(logic.without_task(GRAMMAR)))
    monkeypatch.setitem(logic._KNOWN, digests, logic.MOVE)


def without_textworld(monkeypatch) -> None:
    """As on a machine where the extra is not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "textworld" else found(name))


def write_game(folder: Path, seed: int = 0, kind: str = "", **changes) -> Path:
    """A generated game under DOMAIN and GRAMMAR as ALFWorld would lay it out."""
    game = generate(seed)
    folder.mkdir(parents=True)
    (folder / "traj_data.json").write_text(json.dumps({"task_type": kind or game.kind}))
    record = {
        "pddl_domain": DOMAIN,
        "grammar": GRAMMAR.replace("Your task is to: UNKNOWN GOAL.", game.task_line),
        "pddl_problem": game.problem,
        "solvable": True,
    }
    record = {key: value for key, value in {**record, **changes}.items() if value is not None}
    (folder / "game.tw-pddl").write_text(json.dumps(record))
    return folder
