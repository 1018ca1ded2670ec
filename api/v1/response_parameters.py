"""How a model is to answer, from the words of the Responses API into those of the chat API."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.v1.errors import wrong_parameter

_FORMAT = ("text", "format")


def parameters_of(
    *,
    tools: Sequence[Mapping[str, Any]],
    tool_choice: str | Mapping[str, Any] | None,
    parallel_tool_calls: bool | None,
    text_format: Mapping[str, Any] | None,
    **more: Any,
) -> dict[str, Any]:
    """Return what is asked for, by the names of the chat API; `more` goes by the same names in both.

    Raises:
        RequestValidationError: it is none that could be passed on.
    """
    offered, choice = _tools(tools, tool_choice)
    found = {
        **more,
        "response_format": _response_format(text_format or {"type": "text"}),
        "tools": offered or None,
        "tool_choice": choice if offered else None,
        "parallel_tool_calls": parallel_tool_calls if offered else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _response_format(wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    match wanted.get("type"):
        case "text":
            return None
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            for name, kind in (("name", str), ("schema", dict)):
                if not isinstance(wanted.get(name), kind):
                    raise wrong_parameter((*_FORMAT, name), "is required", "missing_required_parameter")
            schema = _given(wanted, "name", "schema", "description", "strict")
            return {"type": "json_schema", "json_schema": schema}
        case kind:
            raise wrong_parameter((*_FORMAT, "type"), f"the format '{kind}' is not supported", "unsupported_value")


def _tools(
    tools: Sequence[Mapping[str, Any]], choice: str | Mapping[str, Any] | None
) -> tuple[list[dict[str, Any]], str | dict[str, Any] | None]:
    """Return the functions that the model may call, and whether it must."""
    offered: dict[object, dict[str, Any]] = {}
    for number, tool in enumerate(tools):
        if (kind := tool.get("type")) != "function":
            words = f"tools of the type '{kind}' are not supported: only functions, which the client runs"
            raise wrong_parameter(("tools", number, "type"), words, "unsupported_value")
        if not isinstance(name := tool.get("name"), str) or not name:
            raise wrong_parameter(("tools", number, "name"), "is required", "missing_required_parameter")
        offered[name] = {"type": "function", "function": _given(tool, "name", "description", "parameters", "strict")}
    match choice:
        case {"type": "function", "name": name}:
            _offered(offered, name)
            return list(offered.values()), {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "tools": [*allowed], "mode": "auto" | "required" as mode}:
            names = [tool.get("name") if isinstance(tool, Mapping) else None for tool in allowed]
            return [_offered(offered, name) for name in names], mode
        case {**said}:
            kind = said.get("type")
            words = f"the choice '{kind}' is not supported"
            raise wrong_parameter(("tool_choice", "type"), words, "unsupported_value")
        case "required" if not offered:
            raise wrong_parameter("tool_choice", "there are no tools to choose from")
    return list(offered.values()), choice


def _offered(offered: Mapping[object, dict[str, Any]], name: object) -> dict[str, Any]:
    if not isinstance(name, str) or name not in offered:
        raise wrong_parameter("tool_choice", f"there is no tool '{name}'")
    return offered[name]


def _given(told: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: told[name] for name in names if told.get(name) is not None}
