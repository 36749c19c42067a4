"""Many clients at once; `python -m tests.student.serve.storm` does the same with more to read."""

import pytest

from tests.student.serve.storm import storm


@pytest.mark.slow
def test_two_thousand_requests_of_32_clients() -> None:
    found = storm(2000, 32)
    assert found["wrong"] == 0, found
    assert found["stopped_with"] == 130
    first, last = found["memory_mb_each_tenth"][2], found["memory_mb_each_tenth"][-1]
    assert last < 1.1 * first + 16
