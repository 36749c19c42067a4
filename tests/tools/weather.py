"""The agent of docs/tool-calling.md, as it stands there, and a teacher behind an endpoint that plays it well."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.teachers.endpoint import FAULTS, Endpoint

DOC = Path(__file__).parents[2] / "docs" / "tool-calling.md"
TASK = "What is the weather in {}?"


def printed() -> tuple[list[str], str]:
    """The page's commands, and its agent.py."""
    text = DOC.read_text(encoding="utf-8")
    return text.split("```\n")[1].splitlines(), text.split("```python\n")[1].partition("```")[0]


def module(folder: Path, url: str = "http://127.0.0.1:9/v1") -> Any:
    """The page's agent.py as a module that was given no city."""
    pytest.importorskip("smolagents", reason="pip install smolagents")
    file = folder / "agent.py"
    file.write_text(printed()[1], encoding="utf-8")  # a framework reads the source of its tools
    spec = importlib.util.spec_from_file_location("agent", file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    with patch.object(sys, "argv", ["agent.py", url]):
        spec.loader.exec_module(made)
    return made


def agent(folder: Path, url: str) -> Any:
    made = module(folder, url).agent
    made.logger.level = 0  # what it would show is not looked at
    return made


def teacher() -> Endpoint:
    """The user's own: any endpoint of OpenAI's kind."""
    FAULTS["calls a tool"] = _call
    return Endpoint(lambda number: "calls a tool")


def _call(handler: Any) -> None:
    name, arguments = _next(handler.request_body["messages"])
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": f"call_{handler.server.asked:06}", "type": "function", "function": function}
    handler.send(200, handler.completion(None, "tool_calls", tool_calls=[call]))


def _next(messages: list[dict[str, Any]]) -> tuple[str, dict[str, str]]:
    texts = [m["content"] if isinstance(m["content"], str) else m["content"][0]["text"] for m in messages]
    seen = [text.partition("Observation:\n")[2].strip() for text in texts if text.startswith("Observation:")]
    if not seen:
        city = re.search(r"weather in (\w+)\?", "\n".join(texts))
        assert city is not None
        return "find_code", {"city": city[1]}
    return ("weather", {"code": seen[0]}) if len(seen) == 1 else ("final_answer", {"answer": seen[1]})
