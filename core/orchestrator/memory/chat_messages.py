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
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content or ""


def text_of_all(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return what several messages say in words."""
    return "\n\n".join(text for text in map(text_of, messages) if text)


def tokens_of(message: Mapping[str, Any]) -> int:
    """Return the estimated tokens of a message."""
    content = message.get("content")
    media = [part for part in content if "text" not in part] if isinstance(content, list) else []
    calls = message.get("tool_calls")
    said = text_of(message) + (json.dumps(calls) if calls else "")
    return estimate_tokens(said) + _MEDIA_TOKENS * len(media)


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

    A client may go on without having told what came of a call: models refuse to read such a conversation on.

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
        calls = message.get("tool_calls")
        if not calls:
            kept.append(message)
            continue
        called = [call.get("id") for call in calls]
        told = {result.get("tool_call_id"): result for result in results}
        told_now = _ids_of(_leading_results(new)) if place == len(history) else set()
        if all(one in told or one in told_now for one in called):
            kept += [message, *(told[one] for one in called if one not in told_now)]
        elif text_of(message):
            kept.append({key: value for key, value in message.items() if key != "tool_calls"})
    return kept


def _leading_results(messages: Sequence[Message]) -> list[Message]:
    return list(takewhile(lambda message: message["role"] == "tool", messages))


def _ids_of(results: Iterable[Message]) -> set[Any]:
    return {result.get("tool_call_id") for result in results}
