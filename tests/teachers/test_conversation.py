from pathlib import Path
from typing import Any

from duomem_mlx.teachers.answers import Answer, Fault
from duomem_mlx.teachers.asking import Asker
from duomem_mlx.teachers.budget import Budget, Limits
from duomem_mlx.teachers.conversation import NO_ACTION, Manner, RemoteTeacher
from duomem_mlx.teachers.journal import Journal
from duomem_mlx.teachers.record import attempt
from duomem_mlx.teachers.waiting import Waiting
from duomem_mlx.trajectory import Trajectory, from_record, to_record
from tests.teachers.corridor import Corridors


class Speaker:
    """Says one thing after the other; what it was asked is kept."""

    def __init__(self, *said: Answer | Fault | str) -> None:
        self.said = list(said)
        self.asked: list[list[dict[str, str]]] = []
        self.temperatures: list[float | None] = []

    def ask(self, messages: Any, temperature: float | None) -> Answer:
        self.asked.append([dict(message) for message in messages])
        self.temperatures.append(temperature)
        said = self.said.pop(0)
        if isinstance(said, Fault):
            raise said
        return Answer(said, None, False, 100, 10, 2.0) if isinstance(said, str) else said


def played(folder: Path, speaker: Speaker, manner: Manner | None = None, number: int = 1) -> Trajectory:
    budget = Budget(Limits())
    asker = Asker(speaker, Journal(folder / "answers.jsonl", budget), budget, Waiting())
    teacher = RemoteTeacher(asker, manner or Manner(), Corridors.instructions, "train/1", number)
    try:
        return attempt(Corridors(), "train/1", teacher, {"kind": "remote"}, 30)
    finally:
        asker.journal.close()


def test_the_conversation_holds_task_observations_and_its_own_words(tmp_path: Path) -> None:
    ran_on = "Thought: far.\nAction: walk\nObservation: You win!\nAction: dance"
    speaker = Speaker(ran_on, "Action: walk")
    trajectory = played(tmp_path, speaker)
    assert trajectory.won
    assert [(step.action, step.thought) for step in trajectory.steps] == [("walk", "far."), ("walk", None)]
    assert trajectory.tokens == {"in": 200, "out": 20}
    assert from_record(to_record(trajectory), "it") == trajectory
    opening = "You are in a corridor. Your task is to: walk 2 steps."
    assert speaker.asked[1] == [
        {"role": "system", "content": "Say walk."},
        {"role": "user", "content": opening},
        {"role": "assistant", "content": "Thought: far.\nAction: walk"},
        {"role": "user", "content": "You are 1 steps in."},
    ]


def test_thoughts_are_dropped_or_kept_and_never_sent_back(tmp_path: Path) -> None:
    thinking = Answer("Thought: far.\nAction: walk", "a long\nthought", False, 1, 1)
    for keep, thought in ((False, "far."), (True, "a long\nthought\nfar.")):
        speaker = Speaker(thinking, "Action: walk")
        trajectory = played(tmp_path, speaker, Manner(keep_thoughts=keep), number=1 + keep)
        assert trajectory.steps[0].thought == thought
        assert "a long" not in str(speaker.asked[1])


def test_an_answer_without_an_action_is_asked_for_again_and_is_no_step(tmp_path: Path) -> None:
    speaker = Speaker("Hm.", Answer("and on and on", None, True, 100, 50), "Action: walk", "", "Action: walk")
    trajectory = played(tmp_path, speaker)
    assert trajectory.won
    assert trajectory.actions == ("walk", "walk")
    assert trajectory.tokens == {"in": 500, "out": 90}
    assert [message["role"] for message in speaker.asked[-1]] == ["system", *["user", "assistant"] * 4, "user"]
    assert speaker.asked[1][-1]["content"] == NO_ACTION


def test_a_model_that_never_acts_is_given_up(tmp_path: Path) -> None:
    trajectory = played(tmp_path, Speaker("Hm.", "Hm.", "Hm."))
    assert (trajectory.end, trajectory.steps) == ("lost", ())


def test_a_conversation_that_grows_too_long_ends_with_context(tmp_path: Path) -> None:
    trajectory = played(tmp_path, Speaker("Action: walk", Fault("context", final=True)))
    assert (trajectory.end, trajectory.won, len(trajectory.steps)) == ("context", False, 1)


def test_a_half_finished_attempt_goes_on_from_the_journal(tmp_path: Path) -> None:
    played(tmp_path, Speaker("Action: walk", Fault("context", final=True)))
    speaker = Speaker("Action: walk")
    trajectory = played(tmp_path, speaker)
    assert trajectory.won
    assert len(speaker.asked) == 1
    assert trajectory.tokens == {"in": 200, "out": 20}
    assert trajectory.seconds >= 2.0  # as long as the first answer took, when it was given


def test_each_attempt_has_its_temperature(tmp_path: Path) -> None:
    manner = Manner(temperatures=(0.0, None, 0.9))
    speaker = Speaker(*["Action: walk"] * 8)
    for number in range(1, 5):
        played(tmp_path, speaker, manner, number)
    assert speaker.temperatures == [0.0, 0.0, None, None, 0.9, 0.9, 0.9, 0.9]
