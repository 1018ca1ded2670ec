"""Calls of a client's tools, as any provider may tell them: in one form, and such that they can be stored and sent on.

What a call says is the client's to judge: its arguments may be any text, also one that is no JSON. What it must have
is a name and a text of arguments; an id is made where none is told, for the client answers a call by its id.
"""

import json
from collections.abc import Sequence
from uuid import uuid4

from core.orchestrator.contracts import ToolCall
from core.orchestrator.providers.untrusted import as_mapping, as_text

MOST_CALLS = 128
"""In one answer: as many as OpenAI takes tools with one request."""

MOST_BYTES = 1_000_000
"""Of all calls of an answer, as JSON: they travel in a workflow's payload, beside the text."""

_FUNCTION = "function"


def sound_tool_calls(value: object) -> list[ToolCall] | None:
    """Return tool calls in OpenAI's form, each with an id of its own; None where there are none.

    Raises:
        ValueError: they are no tool calls, or too many.
    """
    if not value:
        return None
    if not isinstance(value, list | tuple):
        raise ValueError("they are no list")  # noqa: TRY004 - by which pydantic knows a wrong value
    if len(value) > MOST_CALLS:
        raise ValueError(f"more than {MOST_CALLS} tools are called at once")
    calls: list[ToolCall] = []
    for told in value:
        call = _sound(told)
        if any(call["id"] == other["id"] for other in calls):
            call["id"] = _new_id()
        calls.append(call)
    if json_bytes(calls) > MOST_BYTES:
        raise ValueError("they are too long")
    return calls


def json_bytes(calls: Sequence[ToolCall] | None) -> int:
    """Return how many bytes of a payload tool calls take."""
    return len(json.dumps(calls, ensure_ascii=False).encode()) if calls else 0


def _sound(told: object) -> ToolCall:
    call = as_mapping(told)
    function = as_mapping(call.get("function"))
    name, arguments = as_text(function.get("name")), function.get("arguments")
    if (call.get("type") or _FUNCTION) != _FUNCTION:
        raise ValueError("something is called that is no function")
    if not name or not name.strip():
        raise ValueError("a tool is called without its name")
    if arguments is not None and not isinstance(arguments, str):
        raise ValueError("the arguments of a call are no text")
    # A tool without parameters is often called with no arguments at all, which no client can read as JSON.
    said = {"name": name, "arguments": as_text(arguments) or "{}"}
    return {"id": as_text(call.get("id")) or _new_id(), "type": _FUNCTION, "function": said}


def _new_id() -> str:
    return f"call_{uuid4().hex[:24]}"
