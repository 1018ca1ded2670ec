"""Following an interaction: what a client may watch of it, from any event on, as often as it likes.

The database is the buffer between a call and its readers: a reader takes so many events at a time as it can handle, and
one that is slow, or comes late, costs nothing. A crowd of readers takes turns, so that it never holds all connections
to the database, nor is refused for want of one. Whatever a reader has seen before, what it is given here leaves it with
the stored reply: where the log has nothing to show any more, it is told to forget its text and given the whole.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import func, select, update

from core.orchestrator.contracts import InteractionStatus, InteractionView
from core.orchestrator.events import TERMINAL_TYPES, InteractionEvent, TextReset, terminal_event_of
from core.orchestrator.interactions.reader import find_row, known, read_view, read_views
from core.orchestrator.replies.log import (
    NUMBERS_LEFT_FREE,
    LoggedEvent,
    latest_number,
    read_events,
    reset_and_whole,
)
from core.orchestrator.storage.changes import Watch, reply_topic
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import WAKE, interactions, reply_events

_BATCH = 100
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Some events of an interaction, in order."""

    events: list[LoggedEvent]
    more: bool = False
    """There may be more of them by now: they were as many as are read at a time."""
    last: bool = False
    """The interaction has ended, and nothing comes after these."""


class ReplyFollower:
    """Reads what happens to interactions, event by event."""

    def __init__(self, database: Database, batch: int = _BATCH) -> None:
        """Read at most `batch` events of `database` at a time; share one follower among all readers of a process."""
        self._database = database
        self._batch = batch
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def watch(self, interaction_id: str) -> AbstractAsyncContextManager[Watch]:
        """Return a watch that tells when there may be something to read."""
        return self._database.changes.watch(reply_topic(interaction_id))

    async def attach(self, interaction_id: str) -> bool:
        """Let the events of an open interaction be logged from now on; of one that nobody watched, they were not.

        Returns:
            Whether it was open.

        Raises:
            UnknownResourceError: there is none of that id.
            StorageUnavailableError: the database did not answer.
        """
        async with self._read() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
        if row.ended_at is not None:
            return False
        if not row.watched:
            still_open = interactions.c.interaction_id == interaction_id, interactions.c.ended_at.is_(None)
            async with self._turns, self._database.write() as connection:
                await connection.execute(update(interactions).where(*still_open).values(watched=True))
        return True

    async def ended(self, interaction_id: str) -> InteractionView | None:
        """Return an interaction that has ended; None where it has not.

        Raises:
            UnknownResourceError: there is none of that id.
            StorageUnavailableError: the database did not answer.
        """
        async with self._read() as connection:
            row = known(await find_row(connection, interaction_id), interaction_id)
            if row.ended_at is None:
                return None
            [view] = await read_views(connection, [row])
            return view

    async def last_reset(self, interaction_id: str) -> int:
        """Return the number of the last event so far that tells to forget the text before it; 0 where none does.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        query = select(func.max(reply_events.c.sequence)).where(
            reply_events.c.interaction_id == interaction_id, reply_events.c.type == TextReset.type
        )
        async with self._read() as connection:
            return (await connection.scalar(query)) or 0

    async def read(self, interaction_id: str, after: int) -> Batch:
        """Return the events with a larger number than `after`, or the first of them; there may be none yet.

        Raises:
            UnknownResourceError: there is none of that id.
            StorageUnavailableError: the database did not answer.
        """
        async with self._read() as connection:
            events = list(await read_events(connection, interaction_id, after, self._batch))
            if events and events[-1].type not in TERMINAL_TYPES:
                return Batch(events, more=len(events) == self._batch)
            row = known(await find_row(connection, interaction_id), interaction_id)
            if not InteractionStatus(row.status).is_final:
                return Batch([])
            return Batch(await _with_the_end(connection, interaction_id, after, events[:-1]), last=True)

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[Connection]:
        async with self._turns, self._database.read() as connection:
            yield connection


async def _with_the_end(
    connection: Connection, interaction_id: str, after: int, before: list[LoggedEvent]
) -> list[LoggedEvent]:
    """Return the events before the terminal one, those that stand for a log that is gone, and the terminal one."""
    number = await _terminal_number(connection, interaction_id)
    if after >= number:
        return []
    view = await read_view(connection, interaction_id)
    shown = before
    if not before and not await _holds_events(connection, interaction_id):
        shown = [
            _logged(place, event)
            for place, event in enumerate(reset_and_whole(view), number - NUMBERS_LEFT_FREE)
            if place > after
        ]
    return [*shown, _terminal(number, view)]


async def _terminal_number(connection: Connection, interaction_id: str) -> int:
    query = select(reply_events.c.sequence).where(
        reply_events.c.interaction_id == interaction_id, reply_events.c.type.in_(TERMINAL_TYPES)
    )
    found: int | None = await connection.scalar(query)
    if found is None:  # it ended before there was a log
        return await latest_number(connection, interaction_id) + NUMBERS_LEFT_FREE + 1
    return found


async def _holds_events(connection: Connection, interaction_id: str) -> bool:
    """Return whether the log of an interaction holds more than its end."""
    query = (
        select(reply_events.c.sequence)
        .where(
            reply_events.c.interaction_id == interaction_id,
            reply_events.c.type.not_in([*TERMINAL_TYPES, WAKE]),
        )
        .limit(1)
    )
    return await connection.scalar(query) is not None


def _logged(number: int, event: InteractionEvent) -> LoggedEvent:
    data = event.model_dump(mode="json", exclude={"interaction_id"})
    return LoggedEvent(sequence_number=number, type=event.type, data=data)


def _terminal(number: int, view: InteractionView) -> LoggedEvent:
    return _logged(number, terminal_event_of(view))
