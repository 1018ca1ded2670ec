"""What a client says to `/v1/responses`, item by item, as the chat messages that the domain knows.

Items are flatter than messages: each call of a tool is one of its own, and what was said earlier may be named by its id
instead of said again. What a model thought (`reasoning`) is nobody's business: it is passed over.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from api.fields import CallId, Identifier
from api.v1.errors import ParameterCode, wrong_parameter
from core.orchestrator.contracts import Message

Item = dict[str, Any]
Place = tuple[str | int, ...]
"""The way to a field of the body."""

_CALL_ID: TypeAdapter[str] = TypeAdapter(CallId)
_NAME: TypeAdapter[str] = TypeAdapter(Identifier)
_INSTRUCTING = ("system", "developer")
_PASSED_OVER = ("reasoning",)


@dataclass
class Spoken:
    """What the items come to."""

    messages: list[Message] = field(default_factory=list)
    """Oldest first."""
    instructions: list[Message] = field(default_factory=list)


def referenced(items: str | Sequence[Item]) -> list[str]:
    """Return the ids of the items that are named instead of said."""
    if isinstance(items, str):
        return []
    return [item["id"] for item in items if _kind(item) == "item_reference" and isinstance(item.get("id"), str)]


def spoken(items: str | Sequence[Item], known: Callable[[str], Item | None]) -> Spoken:
    """Return what is said, where `known` tells what an id stands for; None: for nothing that needs saying.

    Raises:
        RequestValidationError: an item is none, or none that can be passed on.
    """
    if isinstance(items, str):
        return Spoken([{"role": "user", "content": items}])
    said = Spoken()
    for number, item in enumerate(items):
        place: Place = ("input", number)
        is_named = _kind(item) == "item_reference"
        meant = known(_text(item.get("id"), (*place, "id"))) if is_named else item
        if meant is not None:
            _add(said, meant, place)
    return said


def _kind(item: Item) -> str:
    kind = item.get("type")
    if kind is None:
        return "item_reference" if "role" not in item and "id" in item else "message"
    return str(kind)


def _add(said: Spoken, item: Item, place: Place) -> None:
    match kind := _kind(item):
        case "message":
            _add_message(said, item, place)
        case "function_call":
            _add_call(said.messages, item, place)
        case "function_call_output":
            content = _content(item.get("output"), (*place, "output"))
            call_id = _checked(_CALL_ID, item.get("call_id"), (*place, "call_id"))
            said.messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
        case _ if kind not in _PASSED_OVER:
            raise wrong_parameter(
                (*place, "type"), f"items of the type '{kind}' are not supported", "unsupported_value"
            )


def _add_message(said: Spoken, item: Item, place: Place) -> None:
    role = item.get("role")
    content = _content(item.get("content"), (*place, "content"))
    if role in _INSTRUCTING:
        said.instructions.append({"role": role, "content": content})
    elif role == "user":
        said.messages.append({"role": role, "content": content})
    elif role == "assistant":
        if not isinstance(content, str):
            content = "".join(part.get("text", "") for part in content)
        said.messages.append({"role": role, "content": content})
    else:
        raise wrong_parameter((*place, "role"), "must be 'user', 'assistant', 'system' or 'developer'")


def _add_call(messages: list[Message], item: Item, place: Place) -> None:
    """Add a call to what was said with it: in a chat, calls are a part of the message."""
    name = _checked(_NAME, item.get("name"), (*place, "name"))
    function = {"name": name, "arguments": _text(item.get("arguments"), (*place, "arguments"))}
    call_id = _checked(_CALL_ID, item.get("call_id"), (*place, "call_id"))
    call = {"id": call_id, "type": "function", "function": function}
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _content(content: object, place: Place) -> str | list[dict[str, Any]]:
    """Return what is said as one text where it is no more, and otherwise as the parts of a chat message."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        code: ParameterCode = "missing_required_parameter" if content is None else "invalid_type"
        raise wrong_parameter(place, "must be a text or a list of parts", code)
    parts = [_part(part, (*place, number)) for number, part in enumerate(content)]
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(part: object, place: Place) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise wrong_parameter(place, "must be an object", "invalid_type")
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": _text(part.get("text"), (*place, "text"))}
        case "refusal":
            return {"type": "text", "text": _text(part.get("refusal"), (*place, "refusal"))}
        case "input_image":
            image = {"url": _inline(part, "image_url", place), **_given(part, ("detail",))}
            return {"type": "image_url", "image_url": image}
        case "input_file":
            field_name = "file_url" if part.get("file_url") else "file_data"
            data = _inline(part, field_name, place)
            return {"type": "file", "file": {"file_data": data, **_given(part, ("filename",))}}
        case kind:
            raise wrong_parameter(
                (*place, "type"), f"parts of the type '{kind}' are not supported", "unsupported_value"
            )


def _inline(part: dict[str, Any], name: str, place: Place) -> str:
    if part.get("file_id") and not part.get(name):
        raise wrong_parameter(
            (*place, "file_id"), "no files are kept here: send the content, or its address", "unsupported_parameter"
        )
    return _text(part.get(name), (*place, name))


def _given(part: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: part[name] for name in names if part.get(name) is not None}


def _checked(kind: TypeAdapter[str], value: object, place: Place) -> str:
    try:
        return kind.validate_python(_text(value, place))
    except ValidationError as error:
        raise wrong_parameter(place, error.errors()[0]["msg"]) from None


def _text(value: object, place: Place) -> str:
    if value is None:
        raise wrong_parameter(place, "is required", "missing_required_parameter")
    if not isinstance(value, str):
        raise wrong_parameter(place, "must be a text", "invalid_type")
    return value
