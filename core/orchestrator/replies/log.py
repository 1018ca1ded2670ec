"""The reply log: what a client may watch of an interaction, event by event.

It is a view: the interaction's own tables are the truth, and every event is written in the transaction that makes it
true. What it promises is that forgetting nothing and adding every delta gives the stored reply, byte for byte: the end
compares what was shown with the reply, and appends what is missing.

Events are numbered from 1 in the order of their commits. Between the last event and the terminal one two numbers stay
free: for the `text.reset` and the whole text that a reader gets who comes when the log has been trimmed.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Insert, bindparam, func, insert, literal, select

from core.orchestrator.contracts import Contract, InteractionView
from core.orchestrator.events import InteractionEvent, TextDelta, TextReset, terminal_event_of
from core.orchestrator.storage.changes import cancel_topic, reply_topic, touch
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.tables import WAKE, reply_events

NUMBERS_LEFT_FREE = 2


class LoggedEvent(Contract):
    """An event as it stands in the log."""

    sequence_number: int
    type: str
    data: dict[str, Any]
    """Its fields, without `interaction_id`; empty for a terminal event: how it ended is read from the store."""


async def append(connection: Connection, *events: InteractionEvent) -> None:
    """Append events of one interaction; those who wait for them are woken by the commit."""
    if not events:
        return
    await connection.execute(_APPENDING, [_row_of(event) for event in events])
    touch(connection, reply_topic(events[0].interaction_id))


def appending_if(condition: ColumnElement[bool]) -> Insert:
    """Return the statement that appends an event if a condition holds: for `append_if`."""
    values = [bindparam(name, type_=reply_events.c[name].type) for name in _APPENDED]
    return insert(reply_events).from_select([*_APPENDED, "sequence"], select(*values, _NEXT_NUMBER).where(condition))


async def append_if(
    connection: Connection, appending: Insert, condition: dict[str, Any], event: InteractionEvent
) -> bool:
    """Append an event if a condition holds, with one statement; return whether it did.

    Args:
        connection: an open transaction.
        appending: made by `appending_if`.
        condition: the values of its parameters.
        event: what to append.
    """
    if (await connection.execute(appending, _row_of(event) | condition)).rowcount != 1:
        return False
    touch(connection, reply_topic(event.interaction_id))
    return True


async def append_end(connection: Connection, view: InteractionView, *, watched: bool) -> None:
    """Append what makes the events add up to the stored reply, if they were logged, and the terminal event."""
    if watched:
        await append(connection, *_missing(view, await shown_text(connection, view.interaction_id)))
    row = _row(view.interaction_id, terminal_event_of(view).type, {})
    await connection.execute(_APPENDING_THE_END, row)
    touch(connection, reply_topic(view.interaction_id))


async def append_wake(connection: Connection, interaction_id: str) -> None:
    """Wake the call that runs for an interaction, wherever it does: somebody wants it ended."""
    await connection.execute(_APPENDING, _row(interaction_id, WAKE, {}))
    touch(connection, cancel_topic(interaction_id))


async def latest_number(connection: Connection, interaction_id: str) -> int:
    """Return the number of an interaction's last event; 0 where there is none."""
    query = select(func.max(reply_events.c.sequence)).where(reply_events.c.interaction_id == interaction_id)
    return (await connection.scalar(query)) or 0


async def read_events(connection: Connection, interaction_id: str, after: int, limit: int) -> Sequence[LoggedEvent]:
    """Return at most `limit` events of an interaction with a larger number than `after`, in order."""
    rows = await connection.execute(
        select(reply_events.c.sequence, reply_events.c.type, reply_events.c.data)
        .where(
            reply_events.c.interaction_id == interaction_id,
            reply_events.c.sequence > literal(after, BigInteger),  # a client may say any number
            reply_events.c.type != WAKE,
        )
        .order_by(reply_events.c.sequence)
        .limit(limit)
    )
    return [LoggedEvent(sequence_number=row.sequence, type=row.type, data=row.data) for row in rows]


async def shown_text(connection: Connection, interaction_id: str) -> str:
    """Return what a reader of the log has been shown by now and not been told to forget."""
    rows = await connection.execute(
        select(reply_events.c.type, reply_events.c.data)
        .where(
            reply_events.c.interaction_id == interaction_id,
            reply_events.c.type.in_([TextDelta.type, TextReset.type]),
        )
        .order_by(reply_events.c.sequence)
    )
    shown: list[str] = []
    for kind, data in rows:
        if kind == TextReset.type:
            shown.clear()
        else:
            shown.append(data["delta"])
    return "".join(shown)


def reset_and_whole(view: InteractionView) -> list[TextReset | TextDelta]:
    """Return the events that show the stored reply, whatever was shown before."""
    attempt = speaker_of(view)
    events: list[TextReset | TextDelta] = [TextReset(interaction_id=view.interaction_id, attempt=attempt)]
    if view.message:
        events.append(TextDelta(interaction_id=view.interaction_id, attempt=attempt, delta=view.message))
    return events


def speaker_of(view: InteractionView) -> int:
    """Return the attempt that an ended interaction's text is counted to: the last one; 0 where none was made."""
    return max((attempt.ordinal for attempt in view.attempts), default=0)


def _missing(view: InteractionView, shown: str) -> list[TextReset | TextDelta]:
    reply = view.message or ""
    if not reply.startswith(shown):
        return reset_and_whole(view)
    rest = reply[len(shown) :]
    return [TextDelta(interaction_id=view.interaction_id, attempt=speaker_of(view), delta=rest)] if rest else []


_LOG = "log"
_earlier = reply_events.alias()
_NEXT_NUMBER = (
    select(func.coalesce(func.max(_earlier.c.sequence), 0) + 1)
    .where(_earlier.c.interaction_id == bindparam(_LOG))
    .scalar_subquery()
)
"""Nobody else numbers the events of an interaction meanwhile: whoever appends holds it."""


_APPENDED = ("interaction_id", "type", "data")
_APPENDING = insert(reply_events).values(sequence=_NEXT_NUMBER)
_APPENDING_THE_END = insert(reply_events).values(sequence=_NEXT_NUMBER + NUMBERS_LEFT_FREE)


def _row_of(event: InteractionEvent) -> dict[str, Any]:
    return _row(event.interaction_id, event.type, event.model_dump(mode="json", exclude={"interaction_id"}))


def _row(interaction_id: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"interaction_id": interaction_id, "type": kind, "data": data, _LOG: interaction_id}
