"""What is looked at in a call's arguments, in bounded time."""

import time
from typing import Any

import pytest

from duomem_mlx.tools.calls import Call
from duomem_mlx.tools.offered import Offered, offered_in


def offering(schema: dict[str, Any]) -> Offered:
    offered = offered_in({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]})
    assert offered is not None
    return offered


HOSTILE = "(a+)+$"
DIALECTS = ("https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#")
DOUBLING = {
    "$defs": {f"n{n}": {"anyOf": [{"$ref": f"#/$defs/n{n + 1}"}] * 2} for n in range(40)} | {"n40": {"type": "null"}},
    "$ref": "#/$defs/n0",
}


@pytest.mark.parametrize(
    ("schema", "accepted"),
    [
        ({"properties": {"x": {"type": "string", "pattern": HOSTILE}}}, True),
        ({"patternProperties": {HOSTILE: {}}}, True),
        ({"patternProperties": {HOSTILE: {}}, "additionalProperties": False}, True),
        ({"patternProperties": {HOSTILE: {}}, "unevaluatedProperties": False}, True),
        ({"propertyNames": {"pattern": HOSTILE}}, True),
        *(({"properties": {"x": {"$schema": of, "pattern": HOSTILE}}}, True) for of in DIALECTS),
        (DOUBLING, False),
    ],
)
def test_no_schema_keeps_a_server_busy(schema: dict[str, Any], accepted: bool) -> None:
    offered, long = offering({"type": "object", **schema}), "a" * 40 + "!"
    began = time.perf_counter()
    assert offered.accepts(Call("f", {"x": long, long: 1})) is accepted
    assert time.perf_counter() - began < 5


def test_what_else_a_schema_says_holds() -> None:
    offered = offering(
        {
            "type": "object",
            "$defs": {"city": {"enum": ["Oslo"]}},
            "properties": {"city": {"$ref": "#/$defs/city"}, "pattern": {"type": "string", "pattern": r"\p{L}+"}},
            "required": ["city"],
            "additionalProperties": False,
        }
    )
    assert offered.accepts(Call("f", {"city": "Oslo", "pattern": "x"}))
    for wrong in ({}, {"city": "Rome"}, {"city": "Oslo", "pattern": 3}, {"city": "Oslo", "more": 1}):
        assert not offered.accepts(Call("f", wrong))
