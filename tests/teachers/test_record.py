from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.scripted import ScriptedTeacher
from duomem_mlx.trajectory import Step, Trajectory, from_record, to_record
from tests.teachers.corridor import Corridor, Corridors


def played(game: str, *actions: str, max_steps: int = 30) -> Trajectory:
    return attempt(Corridors(), game, ScriptedTeacher(actions), {"kind": "scripted"}, max_steps)


def test_what_was_done_and_seen_is_written_down() -> None:
    t = played("train/1", "jump", "walk", "walk", "walk")
    assert t.steps == (
        Step("jump", "Nothing happens."),
        Step("walk", "You are 1 steps in."),
        Step("walk", "You are 2 steps in."),
    )
    assert (t.environment, t.game, t.split, t.kind) == ("corridors", "train/1", "train", "short")
    assert (t.task, t.opening) == ("walk 2 steps", "You are in a corridor. Your task is to: walk 2 steps.")
    assert (t.won, t.score, t.end) == (True, 1.0, "won")
    assert t.teacher == {"kind": "scripted"}
    assert t.seconds >= 0
    assert from_record(to_record(t), "it") == t


def test_why_it_ended() -> None:
    assert played("train/1").end == "lost"  # gave up at once
    assert played("train/1", "jump").end == "lost"
    assert played("train/5", *["walk"] * 30).end == "lost"  # over, and not won
    assert played("train/6", *["jump"] * 30, max_steps=3).end == "steps"
    assert played("train/6", *["walk"] * 30, max_steps=7).end == "won"
    assert len(played("train/6", *["jump"] * 30, max_steps=3).steps) == 3


def test_a_scripted_teacher_starts_anew_with_every_game() -> None:
    teacher = ScriptedTeacher(["walk", "walk"])
    ends = [attempt(Corridors(), "train/1", teacher, {"kind": "scripted"}, 30).end for _ in range(2)]
    assert ends == ["won", "won"]


def test_a_world_whose_games_lack_something_is_told() -> None:
    class Halves(Corridors):
        def open(self, task_id: str) -> object:  # type: ignore[override]
            return object()

    t = attempt(Halves(), "train/1", ScriptedTeacher([]), {"kind": "scripted"}, 30)
    assert (t.end, t.steps) == (
        "environment",
        (Step("", "The game lacks id, split, task, reset, step."),),
    )


def test_a_world_that_breaks_ends_the_attempt_and_what_was_played_is_kept() -> None:
    class Breaks(Corridors):
        def open(self, task_id: str) -> Corridor:
            game = super().open(task_id)
            walk = game.step
            game.step = lambda action: walk(action) if action == "walk" else {}[action]  # type: ignore[method-assign]
            return game

    teacher = ScriptedTeacher(["walk", "fall", "walk"])
    t = attempt(Breaks(), "train/3", teacher, {"kind": "scripted"}, 30)
    assert (t.end, t.won) == ("environment", False)
    assert t.steps[-1] == Step("fall", "The world broke the game off: `step` raised KeyError: 'fall'.")
    assert len(t.steps) == 2
