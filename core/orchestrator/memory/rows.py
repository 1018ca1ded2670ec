"""Turns as rows of messages: turn n holds what was asked under the number 2n-1, and the reply under 2n."""

from collections.abc import Sequence
from typing import Any

from core.orchestrator.contracts import Message
from core.orchestrator.memory.chat_messages import is_plain, text_of_all, tokens_of
from core.orchestrator.memory.exchanges import Exchange


def asked_number(turn: int) -> int:
    """Return the number of what was asked in a turn."""
    return 2 * turn - 1


def reply_number(turn: int) -> int:
    """Return the number of the reply in a turn."""
    return 2 * turn


def turn_of(number: int) -> int:
    """Return the turn that a number belongs to."""
    return (number + 1) // 2


def asked_row(turn: int, asked: Sequence[Message]) -> dict[str, Any]:
    """Return the columns of what was asked: by the user, or by a tool that the client has called."""
    return _row(asked_number(turn), asked[0]["role"], asked)


def reply_row(turn: int, replied: Sequence[Message]) -> dict[str, Any]:
    """Return the columns of a reply."""
    return _row(reply_number(turn), "assistant", replied)


def rows_of(turn: int, exchange: Exchange) -> list[dict[str, Any]]:
    """Return the columns of a turn that was held elsewhere: two rows, or one where nothing was asked or replied."""
    rows = [asked_row(turn, exchange.asked)] if exchange.asked else []
    return [*rows, reply_row(turn, exchange.replied)] if exchange.reply else rows


def _row(number: int, role: str, said: Sequence[Message]) -> dict[str, Any]:
    return {
        "sequence": number,
        "role": role,
        "content": text_of_all(said),
        "as_sent": None if is_plain(said, role) else list(said),
        "tokens": sum(map(tokens_of, said)),
        "in_memory": True,
    }
