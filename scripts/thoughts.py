"""A thought before every action of a household trajectory, by rule: what is wanted, from what was read so far."""

import re
from dataclasses import replace

from duomem_mlx.household.teacher.seen import Room, class_of
from duomem_mlx.household.teacher.task import Goal, read_task
from duomem_mlx.household.wording import NAME
from duomem_mlx.trajectory import Trajectory


def with_thoughts(trajectory: Trajectory) -> Trajectory:
    """The same actions, each with a thought of one sentence; as it is where the task is none of ALFWorld's wordings."""
    goal = read_task(trajectory.task)
    if goal is None:
        return trajectory
    room, steps, done = Room(trajectory.opening), [], set[str]()
    for step in trajectory.steps:
        held = room.held
        steps.append(replace(step, thought=thought(goal, room, step.action, done)))
        room.read(step.action, step.observation)
        if held and room.held is None:
            done.add(held)
    return replace(trajectory, steps=tuple(steps))


def thought(goal: Goal, room: Room, action: str, done: set[str]) -> str:
    """`done` are the things that were put down; nothing is said that the texts so far and the action do not tell."""
    places = [name for name in re.findall(NAME, action) if name in room.places]
    there = f" {places[-1]}" if places else ""
    if room.held:
        wanted = purpose(goal, room.held, room.treated.get(room.held, set()), lit=action.startswith("use"))
        return f"I hold {room.held}, {wanted}{f': I turn to{there}' if there else ''}."
    seen = [(thing, place) for thing, place in room.things(goal.thing) if thing not in done]
    another = "another" if done else "a"
    if seen:
        return f"There is {seen[0][0]} in or on {seen[0][1]}: I take it."
    return f"I need {another} {goal.thing} and have seen none yet: I look at{there or ' what is here'}."


def purpose(goal: Goal, held: str, treated: set[str], lit: bool) -> str:
    if class_of(held) != goal.thing:
        return "which is not wanted"
    if goal.treatment and goal.treatment not in treated:
        return f"which is to be {goal.treatment}ed first"
    if goal.lamp:
        return f"and switch on the {goal.lamp}" if lit else f"and need a {goal.lamp}"
    return f"which goes in or on {goal.place}"
