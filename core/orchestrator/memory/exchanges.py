"""A conversation as a list of exchanges: what was said to the model, and what it said then.

Two texts are the same here if they read the same: clients trim them, split them into parts, and forget the ids of calls
of tools.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from core.orchestrator.contracts import Message
from core.orchestrator.memory.chat_messages import text_of

Call = tuple[str, str]
"""A tool and its arguments."""
Line = tuple[str, str]
"""A role and a text."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, for comparing."""

    text: str
    calls: tuple[Call, ...] = ()

    def __bool__(self) -> bool:
        """Whether it said anything."""
        return bool(self.text or self.calls)

    def begins(self, whole: "Reply") -> bool:
        """Tell whether this is all that somebody heard of `whole` who stopped listening early."""
        return bool(self.text) and not self.calls and whole.text.startswith(self.text)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Some messages to the model, and its reply; either may be missing."""

    asked: Sequence[Message]
    """None at the beginning of a conversation that the model opens."""
    replied: Sequence[Message]
    """More than one where the client has split it."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """What was asked, for comparing."""
        return lines_of(self.asked)

    @property
    def reply(self) -> Reply:
        """What was replied, for comparing."""
        return reply_of(self.replied)


def exchanges_of(messages: Sequence[Message]) -> list[Exchange]:
    """Return messages of users, tools and a model as exchanges, in order."""
    runs = [(is_reply, list(run)) for is_reply, run in groupby(messages, key=lambda one: one["role"] == "assistant")]
    exchanges: list[Exchange] = []
    asked: list[Message] = []
    for is_reply, run in runs:
        if is_reply:
            exchanges.append(Exchange(asked, run))
            asked = []
        else:
            asked = run
    return [*exchanges, Exchange(asked, [])] if asked else exchanges


def lines_of(messages: Sequence[Message]) -> tuple[Line, ...]:
    """Return what was asked, for comparing: pictures and sounds, which some clients send only once, do not count."""
    return tuple((message["role"], text_of(message).strip()) for message in messages)


def reply_of(messages: Sequence[Message]) -> Reply:
    """Return what was replied, for comparing."""
    texts = [text_of(message).strip() for message in messages]
    calls = [_call(call) for message in messages for call in message.get("tool_calls") or ()]
    return Reply("\n\n".join(text for text in texts if text), tuple(calls))


def _call(call: Mapping[str, Any]) -> Call:
    function = call.get("function") or {}
    arguments = function.get("arguments") or ""
    try:
        arguments = json.dumps(json.loads(arguments), sort_keys=True)
    except (TypeError, ValueError):
        arguments = str(arguments).strip()
    return str(function.get("name")), arguments
