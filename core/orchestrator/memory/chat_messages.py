"""Chat messages as clients send them: what they say in words, what they cost, and which of them belong together."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from core.orchestrator.contracts import Message, ToolCall
from core.orchestrator.tokens import estimate_tokens

_MEDIA_TOKENS = 1000
"""What a picture or a sound costs, roughly: models count neither by its bytes."""


def text_of(message: Mapping[str, Any]) -> str:
    """Return what a message says in words."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in _parts_of(message) if isinstance(part.get("text"), str))


def media_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a message shows, and lets hear, beside its words."""
    return [part for part in _parts_of(message) if "text" not in part]


def calls_of(message: Mapping[str, Any]) -> list[Any]:
    """Return the calls of tools in a message, as they are: a client may send anything for them."""
    calls = message.get("tool_calls")
    return calls if isinstance(calls, list) else []


def text_of_all(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return what several messages say in words."""
    return "\n\n".join(text for text in map(text_of, messages) if text)


def tokens_of(message: Mapping[str, Any]) -> int:
    """Return the estimated tokens of a message."""
    calls = message.get("tool_calls")
    said = text_of(message) + (json.dumps(calls) if calls else "")
    return estimate_tokens(said) + _MEDIA_TOKENS * len(media_of(message))


def _parts_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []


def reply_message(text: str, tool_calls: Sequence[ToolCall] | None = None) -> Message:
    """Return a reply as a message."""
    if not tool_calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text or None, "tool_calls": list(tool_calls)}


def is_plain(messages: Sequence[Mapping[str, Any]], role: str) -> bool:
    """Tell whether there is one message with one text of a role, and nothing else."""
    return (
        len(messages) == 1
        and messages[0].keys() == {"role", "content"}
        and messages[0]["role"] == role
        and isinstance(messages[0]["content"], str)
    )


def with_answered_calls(history: Sequence[Message], new: Sequence[Message]) -> list[Message]:
    """Return a history in which every call of a tool is followed by its result, and every result follows a call.

    A client may go on without having told what came of a call, or of some of them: models refuse to read such a
    conversation on. The calls whose results are known stay.

    Args:
        history: what was said before.
        new: what follows it, such as the results of the last calls; it is read, and stays as it is.
    """
    kept: list[Message] = []
    place = 0
    while place < len(history):
        message = history[place]
        results = _leading_results(history[place + 1 :])
        place += 1 + len(results)
        if message["role"] == "tool":
            continue  # results without a call; those with one go with it
        if not message.get("tool_calls"):
            kept.append(message)
            continue
        told = _by_call(results)
        told_now = _by_call(_leading_results(new)) if place == len(history) else {}
        calls = {id_: call for call in calls_of(message) if (id_ := _id_of(call)) in told or id_ in told_now}
        if calls:
            kept += [message | {"tool_calls": list(calls.values())}]
            kept += [told[one] for one in calls if one is not None and one not in told_now]
        elif text_of(message):
            kept.append({key: value for key, value in message.items() if key != "tool_calls"})
    return kept


def with_known_results(history: Sequence[Message], new: Sequence[Message]) -> list[Message]:
    """Return what is new without the results of what nobody has called, and with one result for each call.

    If there is nothing else, it stays as it is: then the model is to say what is wrong with it.

    Args:
        history: what was said before, with answered calls.
        new: what follows it.
    """
    calling = next((message for message in reversed(history) if message["role"] != "tool"), {})
    results = _leading_results(new)
    told = _by_call(results)
    known = [told[one] for one in map(_id_of, calls_of(calling)) if one in told]
    return [*known, *(message for message in new[len(results) :] if message["role"] != "tool")] or list(new)


def _leading_results(messages: Sequence[Message]) -> list[Message]:
    return list(takewhile(lambda message: message["role"] == "tool", messages))


def _by_call(results: Iterable[Message]) -> dict[str | None, Message]:
    """Return results by the ids of their calls: of several of one call, the last."""
    ids = ((result.get("tool_call_id"), result) for result in results)
    return {id_: result for id_, result in ids if isinstance(id_, str)}


def _id_of(call: Any) -> str | None:
    """Return the id of a call, or None where it is none that a model could have made."""
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        return None
    named = isinstance(call["function"].get("name"), str) and isinstance(call["function"].get("arguments"), str)
    return call["id"] if named and isinstance(call.get("id"), str) else None
