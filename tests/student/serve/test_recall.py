"""What a server keeps of the conversations it looked memories up for."""

from duomem_mlx.student.serve import recall
from tests.student.serve.served import Fixed


def test_a_conversation_is_looked_up_once_while_it_is_remembered(monkeypatch) -> None:
    monkeypatch.setattr(recall, "REMEMBERED", 3)
    bank = Fixed()
    look = recall.Recall(bank, 2)
    for number in range(5):
        assert look(None, f"question {number}") == look(None, f"question {number}")
    assert bank.asked == [f"question {number}" for number in range(5)]
    look(None, "question 4")
    look("a task", "question 4")
    look(None, "question 0")
    assert bank.asked[5:] == ["a task", "question 0"]


def test_large_messages_are_not_kept() -> None:
    look = recall.Recall(Fixed(), 1)
    for number in range(20):
        look(None, f"{number}" * (1 << 20))
    assert sum(len(key) for key in look._found) == 20 * 64
