"""A conversation as a list of exchanges: what was said to the model, and what it said then.

Two texts are the same here if they read the same: clients trim them, break their lines otherwise, split them into
parts, and forget the ids of calls of tools. Pictures and sounds, which some clients send only once, are compared where
both sides have them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from core.orchestrator.contracts import Message
from core.orchestrator.memory.chat_messages import calls_of, media_of, text_of

Call = tuple[str, str]
"""A tool and its arguments."""


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


def read_alike(one: str, other: str) -> bool:
    """Tell whether two texts read the same."""
    return _as_read(one) == _as_read(other)


def ask_the_same(some: Sequence[Message], others: Sequence[Message]) -> bool:
    """Tell whether two clients, or one of them twice, have asked the same."""
    return len(some) == len(others) and all(map(_are_alike, some, others))


def begins_with(messages: Sequence[Message], asked: Sequence[Message]) -> bool:
    """Tell whether a client asked something, and then went on by itself."""
    rest = messages[len(asked) :]
    return (
        bool(asked and rest)
        and ask_the_same(asked, messages[: len(asked)])
        and all(message["role"] == "user" for message in rest)
    )


def reply_of(messages: Sequence[Message]) -> Reply:
    """Return what was replied, for comparing."""
    calls = [_call(call) for message in messages for call in calls_of(message)]
    return Reply(_as_read(" ".join(map(text_of, messages))), tuple(calls))


def _are_alike(one: Message, other: Message) -> bool:
    if one["role"] != other["role"] or not read_alike(text_of(one), text_of(other)):
        return False
    shown, shown_before = media_of(one), media_of(other)
    return not shown or not shown_before or shown == shown_before


def _as_read(text: str) -> str:
    return " ".join(text.split())


def _call(call: Any) -> Call:
    """Return a call for comparing; what somebody sends for one may be anything."""
    function = call.get("function") if isinstance(call, Mapping) else call
    if not isinstance(function, Mapping):
        return "", str(function)
    arguments = function.get("arguments") or ""
    try:
        arguments = json.dumps(json.loads(arguments), sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        arguments = str(arguments).strip()
    return str(function.get("name")), arguments
