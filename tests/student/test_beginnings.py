import pytest

from duomem_mlx.student.beginnings import LEAST, Beginnings
from duomem_mlx.student.ragged import Row, Rows
from tests.training import made

SYSTEM = [3 + i % 50 for i in range(2 * LEAST)]
STARTS = [[*SYSTEM, 70 + i, 80, 90 + i] for i in range(4)]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    fed = Rows(made.model())
    fed.fed = []
    plain = fed.feed
    monkeypatch.setattr(fed, "feed", lambda to, chunks: (fed.fed.extend(map(len, chunks)), plain(to, chunks))[1])
    return fed


def test_what_starts_share_is_fed_once_and_says_the_same(rows: Rows) -> None:
    beginnings = Beginnings(rows)
    lent = [beginnings.lend(STARTS[:1])[0], *beginnings.lend(STARTS[1:3]), *beginnings.lend(STARTS[3:])]
    assert [row.length for row in lent] == [0, len(SYSTEM), len(SYSTEM), len(SYSTEM)]
    assert rows.fed == [len(SYSTEM)]
    rest = [start[row.length :] for start, row in zip(STARTS, lent, strict=True)]
    assert rows.feed(lent, rest) == rows.feed([Row() for _ in STARTS], STARTS)
    again = beginnings.lend(STARTS[:1])  # what others wrote after it is not in it
    assert rows.feed(again, [STARTS[0][len(SYSTEM) :]]) == rows.feed([Row()], STARTS[:1])


def test_a_start_that_is_a_beginning_itself_keeps_a_token_to_feed(rows: Rows) -> None:
    beginnings = Beginnings(rows)
    assert [row.length for row in beginnings.lend([SYSTEM, SYSTEM])] == [len(SYSTEM) - 1] * 2


def test_a_few_tokens_are_not_worth_a_pass(rows: Rows) -> None:
    assert [row.length for row in Beginnings(rows).lend([[1] * LEAST, [*[1] * (LEAST - 1), 2]])] == [0, 0]
    assert rows.fed == []


def test_a_longer_beginning_takes_the_place_of_a_shorter_one(rows: Rows) -> None:
    beginnings = Beginnings(rows)
    beginnings.lend(STARTS)
    longer = [[*SYSTEM, *SYSTEM, number] for number in (7, 8)]
    assert [row.length for row in beginnings.lend(longer)] == [2 * len(SYSTEM)] * 2
    assert rows.fed == [len(SYSTEM)] * 2  # the rest of the longer one alone
