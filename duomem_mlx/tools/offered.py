"""What a client offers to be called, and whether a call is one of these."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duomem_mlx.errors import DuomemError
from duomem_mlx.tools.calls import Call

AUTO, NONE, REQUIRED = "auto", "none", "required"
MOST_REFERENCES = 10_000  # followed in a look at one call


class BadTools(DuomemError):
    """What a client offers is off; `field` names where."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(f"{field}: {what}")
        self.field = field


@dataclass(frozen=True)
class Offered:
    """Tools that may be called, those that must be, and whether several at once."""

    tools: tuple[Mapping[str, Any], ...]  # as OpenAI's clients send them
    must: bool = False  # call one
    only: str | None = None  # this one
    several: bool = True

    def named(self, name: str) -> Mapping[str, Any] | None:
        """The function of that name, if it may be called."""
        if self.only not in (None, name):
            return None
        return next((tool["function"] for tool in self.tools if tool["function"]["name"] == name), None)

    def accepts(self, call: Call) -> bool:
        """Whether it is a call of one of them, with arguments as its JSON Schema wants them."""
        function = self.named(call.name)
        if function is None:
            return False
        try:
            return bool(_validator(function.get("parameters") or {}).is_valid(_plain(call.arguments)))
        except Exception:  # a schema that refers to what is not there, to itself without end, or too often
            return False


def offered_in(request: Mapping[str, Any]) -> Offered | None:
    """The tools of a request as it was sent; None where there are none, or none may be called.

    Raises BadTools.
    """
    tools, choice = request.get("tools"), request.get("tool_choice")
    only = _only(choice)
    if not tools:
        if choice not in (None, NONE, AUTO):
            raise BadTools("tool_choice", "A tool is to be called, and none is there.")
        return None
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise BadTools("tools", "The tools are no list.")
    for place, tool in enumerate(tools):
        _check(tool, f"tools.{place}")
    offered = Offered(tuple(tools), choice == REQUIRED or only is not None, only, _several(request))
    if only is not None and offered.named(only) is None:
        raise BadTools("tool_choice", f"There is no tool {only!r} to be called.")
    return None if choice == NONE else offered


def described(tools: Sequence[Mapping[str, Any]]) -> str:
    """The tools as text, for a model whose chat template knows none, and how they are called."""
    told = "\n".join(_described(tool["function"]) for tool in tools)
    form = json.dumps({"name": "…", "arguments": {"…": "…"}}, ensure_ascii=False)
    return f"These tools can be called, each call a line of JSON, {form}:\n{told}"


def _described(function: Mapping[str, Any]) -> str:
    """`name(place: string, often?: integer) – what it does`, with what is said of the arguments below."""
    schema = function.get("parameters") or {}
    properties, required = schema.get("properties") or {}, schema.get("required") or ()
    inputs = ", ".join(f"{name}{'' if name in required else '?'}{_type(of)}" for name, of in properties.items())
    head = f"- {function['name']}({inputs})"
    if what := _line(function.get("description")):
        head += f" – {what}"
    explained = (f"\n  {name}: {said}" for name, of in properties.items() if (said := _explained(of)))
    return head + "".join(explained)


def _type(of: Any) -> str:
    kind = of.get("type") if isinstance(of, Mapping) else None
    if isinstance(kind, list):
        kind = " or ".join(map(str, kind))
    return f": {kind}" if isinstance(kind, str) else ""


def _explained(of: Any) -> str:
    if not isinstance(of, Mapping):
        return ""
    choices = of.get("enum")
    one_of = f"one of {json.dumps(choices, ensure_ascii=False)}" if isinstance(choices, list) else ""
    return ", ".join(part for part in (_line(of.get("description")), one_of) if part)


def _line(text: Any) -> str:
    return " ".join(text.split()) if isinstance(text, str) else ""


def _only(choice: Any) -> str | None:
    """The name of the one tool that is to be called."""
    if choice in (None, NONE, AUTO, REQUIRED) or not choice:
        return None
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise BadTools("tool_choice", "It is none of none, auto, required and a function.")
    return name


def _several(request: Mapping[str, Any]) -> bool:
    said = request.get("parallel_tool_calls")
    if said not in (None, True, False):
        raise BadTools("parallel_tool_calls", "It is neither true nor false.")
    return said is not False


def _check(tool: Any, where: str) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    function = tool.get("function") if isinstance(tool, Mapping) and tool.get("type") == "function" else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise BadTools(where, "It is no function with a name.")
    parameters = function.get("parameters")
    if parameters is None:
        return
    where = f"{where}.function.parameters"
    if not isinstance(parameters, Mapping):
        raise BadTools(where, "It is no JSON Schema of an object.")
    try:
        Draft202012Validator.check_schema(parameters, format_checker=None)  # regular expressions are not tried
    except (SchemaError, RecursionError) as error:
        said = " ".join(str(getattr(error, "message", "it goes too deep")).split())[:200]
        raise BadTools(where, f"It is no JSON Schema: {said}.") from None
    if not isinstance(parameters.get("properties") or {}, Mapping):
        raise BadTools(where, "Its properties are no object.")


def _validator(schema: Mapping[str, Any]) -> Any:
    """Of Draft 2020-12, but for what a client could keep a server busy with: regular expressions are not tried, so
    that `pattern` holds of every text and `patternProperties` allows every name, and a reference is followed
    MOST_REFERENCES times in all. That holds of a part that names a `$schema` of its own, too, for which the library
    would take a validator of its own."""
    import attrs
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend
    from referencing import Registry

    usual = Draft202012Validator.VALIDATORS
    left = iter(range(MOST_REFERENCES))

    def nothing(*_: Any) -> tuple[()]:
        return ()

    def following(name: str) -> Any:
        def follow(*given: Any) -> Any:
            next(left)
            return usual[name](*given)

        return follow

    def additional(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> Any:
        return (
            () if "patternProperties" in schema else usual["additionalProperties"](validator, value, instance, schema)
        )

    ours = {name: following(name) for name in ("$ref", "$dynamicRef")}
    ours |= dict.fromkeys(("pattern", "patternProperties", "unevaluatedProperties"), nothing)
    bounded: Any = extend(Draft202012Validator, {**ours, "additionalProperties": additional})
    bounded.evolve = attrs.evolve
    return bounded(schema, registry=Registry())  # which fetches nothing


def _plain(value: Any) -> Any:
    """Mappings as dicts, the only objects that the validator knows."""
    return json.loads(json.dumps(value))
