import json
from pathlib import Path

from duomem_mlx.student import adapters


def test_a_prompt_shows_as_many_memories_as_the_rows_did(tmp_path: Path) -> None:
    assert adapters.usual_k(None) == adapters.usual_k(tmp_path) == 4
    for told, expected in ((2, 2), (0, 4), ("two", 4)):
        (tmp_path / adapters.RECORD).write_text(json.dumps({"k": told}))
        assert adapters.usual_k(tmp_path) == expected
