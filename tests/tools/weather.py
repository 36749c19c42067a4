"""A smolagents agent with two tools, and a teacher behind an endpoint that plays it well."""

import json
import re
from typing import Any

import pytest

from tests.teachers.endpoint import FAULTS, Endpoint

CODES = {"Oslo": "NO-3", "Rome": "IT-8", "Lima": "PE-1", "Bonn": "DE-7", "Kyiv": "UA-5", "Cairo": "EG-2"}
MORE = {"Tokyo": "JP-9", "Quito": "EC-4", "Perth": "AU-6", "Delhi": "IN-2", "Paris": "FR-1", "Accra": "GH-8"}
NEW = {"Madrid": "ES-5", "Hanoi": "VN-7", "Dublin": "IE-3"}  # nobody was taught on them
SKIES = ("rain", "snow", "sun", "fog")
TASK = "What is the weather in {}?"


def sky(code: str) -> str:
    return SKIES[sum(map(ord, code)) % len(SKIES)]


def agent(url: str, model: str = "any") -> Any:
    """Of the framework's own kind; its system text is a short one, so that a test is."""
    smolagents = pytest.importorskip("smolagents", reason="pip install smolagents")

    @smolagents.tool
    def find_code(city: str) -> str:
        """Finds the code of a city.

        Args:
            city: The name of the city.
        """
        return {**CODES, **MORE, **NEW}[city]

    @smolagents.tool
    def weather(code: str) -> str:
        """Tells the weather at a code.

        Args:
            code: The code of a city.
        """
        return sky(code)

    made = smolagents.ToolCallingAgent(
        tools=[find_code, weather],
        model=smolagents.OpenAIModel(model_id=model, api_base=url, api_key="none", client_kwargs={"max_retries": 0}),
        max_steps=4,
        verbosity_level=0,
    )
    made.prompt_templates["system_prompt"] = "Solve the task with the tools. Give what you found to final_answer."
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
