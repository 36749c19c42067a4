from dataclasses import replace

from duomem_mlx.household.environment import household
from duomem_mlx.memory.scripts import chosen, memory_of, plain_script
from duomem_mlx.trajectory import Step, Trajectory


def trajectory(game: str = "g1", actions: tuple[str, ...] = ("go to sofa 1",), **more: object) -> Trajectory:
    settings = {"kind": "pick", "task": "put some box on dresser", "won": True, **more}
    return Trajectory(
        environment="household",
        game=game,
        split="train",
        opening="You are in a room.",
        steps=tuple(Step(action, "You arrive.") for action in actions),
        score=1.0,
        end="won",
        teacher={"kind": "search"},
        seconds=0.1,
        created="2026-01-01T00:00:00+00:00",
        **settings,  # type: ignore[arg-type]
    )


def test_a_plain_script_keeps_numbers_where_the_world_does_not_say_what_they_are() -> None:
    actions = ("heat pot to 100 degrees", "use desklamp 1", "use desklamp 2", 'run {\n  "x": 4}')
    assert plain_script(trajectory(actions=actions)) == (
        'heat pot to 100 degrees; use desklamp 1; use desklamp 2; run { "x": 4}.'
    )


def test_in_the_words_of_the_household_it_names_no_instance() -> None:
    actions = ("go to sofa 1", "go to sofa 2", "take box 1 from sofa 2", "go to dresser 12", "move box 1 to dresser 12")
    assert plain_script(trajectory(actions=actions), household().general) == (
        "go to sofa; take box from sofa; go to dresser; move box to dresser."
    )


def test_a_plain_script_keeps_numbers_that_name_nothing() -> None:
    assert plain_script(trajectory(actions=("wait 3.5 s", '{"x": 4}', "press 7up")), household().general) == (
        'wait 3.5 s; {"x": 4}; press 7up.'
    )


def test_a_memory_keeps_where_it_comes_from() -> None:
    played = trajectory(actions=("go to sofa 1", "take box 1"))
    made = memory_of(played, lambda t: f" Do it in {len(t.steps)} steps.\n")
    assert made.script == "Do it in 2 steps."
    assert made.steps == ("go to sofa 1", "take box 1")
    assert made.key == made.task == played.task
    assert (made.source.game, made.source.split, made.source.teacher) == ("g1", "train", "search")
    assert (made.source.trajectory, made.created, made.source.won) == (played.id, played.created, True)
    assert memory_of(replace(played, teacher={"kind": "remote", "model": "big"})).source.teacher == "big"


def test_only_what_was_won_is_remembered() -> None:
    lost = trajectory("g2", won=False)
    assert [t.game for t in chosen([trajectory(), lost, trajectory()], None, None)] == ["g1"]


def test_the_shortest_of_one_task_are_kept() -> None:
    same = [trajectory(f"g{n}", ("go to sofa 1",) * n) for n in (5, 2, 4, 3)]
    other = trajectory("g9", ("x",) * 9, task="another")
    assert {t.game for t in chosen([*same, other], 2, None)} == {"g2", "g3", "g9"}


def test_any_limit_is_a_fair_sample() -> None:
    many = [trajectory(f"{kind}{n}", task=f"{kind} {n}", kind=kind) for kind in "ab" for n in range(40)]
    for limit in (2, 10, 30):
        kept = chosen(many, None, limit)
        assert len(kept) == limit
        assert sum(t.kind == "a" for t in kept) == limit // 2
        assert {t.id for t in kept} < {t.id for t in chosen(many, None, limit + 2)}
