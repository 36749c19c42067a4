"""A run with tools as an agent's client has it, and as a record keeps it."""

from typing import Any

from duomem_mlx.tools.calls import Call, answer_message
from duomem_mlx.tools.runs import run_of
from duomem_mlx.trajectory import Trajectory

SYSTEM = {"role": "system", "content": "Use the tools."}


def tool(name: str, *inputs: str) -> dict[str, Any]:
    properties = {one: {"type": "string"} for one in inputs}
    schema = {"type": "object", "properties": properties, "required": list(inputs)}
    return {"type": "function", "function": {"name": name, "description": f"To {name}.", "parameters": schema}}


TOOLS = [tool("find_code", "city"), tool("weather", "code"), tool("final_answer", "answer")]


def record(city: str = "Oslo", code: str = "NO-3", flat: bool = False, **more: Any) -> dict[str, Any]:
    """Three calls; `flat`: a client that says calls back as text."""
    first = answer_message("I look.", [Call("find_code", {"city": city})], "a00000001".strip)
    second = answer_message("", [Call("weather", {"code": code})], "a00000002".strip)
    last = answer_message("", [Call("final_answer", {"answer": "rain"})], "a00000003".strip)
    asked = [SYSTEM, {"role": "user", "content": f"What is the weather in {city}?"}]
    messages = [*asked]
    for answer, gave in ((first, code), (second, "rain, 7 degrees")):
        if flat:
            own = {"role": "assistant", "content": f"Calling {answer['tool_calls']}", "answered": answer}
            messages += [own, {"role": "user", "content": f"Observation: {gave}"}]
        else:
            id_ = answer["tool_calls"][0]["id"]
            messages += [answer, {"role": "tool", "tool_call_id": id_, "content": gave}]
    return {"id": f"{city}-run", "messages": [*messages, last], "asked": 2, "tools": TOOLS, "model": "big", **more}


def run(city: str = "Oslo", code: str = "NO-3", flat: bool = False, won: bool = True) -> Trajectory:
    return run_of(record(city, code, flat), won, float(won), f"What is the weather in {city}?")
