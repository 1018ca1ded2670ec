"""The wish that an interaction end: kept with it, and told to the call that runs for it.

It is kept because whoever wished it may be gone the next moment. From then on no new call is begun for the interaction,
a turn in line ends when its place comes, and a call that runs is woken at once, in whichever process it does.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from sqlalchemy import bindparam, select, update

from core.orchestrator.replies.log import append_wake
from core.orchestrator.storage.changes import Watch, cancel_topic
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions

_GOES_ON = select(interactions.c.interaction_id).where(
    interactions.c.interaction_id == bindparam("interaction_id"),
    interactions.c.cancelling.is_(None),
    interactions.c.ended_at.is_(None),
)


class Cancelling(StrEnum):
    """How an interaction is to end."""

    CANCEL = "cancel"
    """Cancelled; what was said by then is kept."""
    ROLLBACK = "rollback"
    """Cancelled, and leaving no message."""


async def mark_cancelling(connection: Connection, interaction_id: str, how: Cancelling) -> bool:
    """Note that an interaction is to end, unless it has; a rollback stays one.

    Returns:
        False when there was nothing new to note.
    """
    known = interactions.c.cancelling
    marked = await connection.execute(
        update(interactions)
        .where(
            interactions.c.interaction_id == interaction_id,
            interactions.c.ended_at.is_(None),
            known.is_(None) if how is Cancelling.CANCEL else known.is_distinct_from(how),
        )
        .values(cancelling=how)
    )
    if not marked.rowcount:
        return False
    await append_wake(connection, interaction_id)
    return True


class Cancellations:
    """Marks interactions to be ended, and tells the calls that run for them."""

    def __init__(self, database: Database) -> None:
        """Keep the marks in `database`."""
        self._database = database

    async def mark(self, interaction_id: str) -> None:
        """Note that an interaction is to end; nothing happens when it has ended, or does not exist.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        async with self._database.write() as connection:
            await mark_cancelling(connection, interaction_id, Cancelling.CANCEL)

    @asynccontextmanager
    async def watch(self, interaction_id: str) -> AsyncIterator["CancelWatch"]:
        """Yield what tells of every mark from here on."""
        async with self._database.changes.watch(cancel_topic(interaction_id)) as watch:
            yield CancelWatch(self._database, interaction_id, watch)


class CancelWatch:
    """Waits for the mark of one interaction."""

    def __init__(self, database: Database, interaction_id: str, watch: Watch) -> None:
        """Read the mark from `database` whenever `watch` is told to look."""
        self._database = database
        self._interaction_id = interaction_id
        self._watch = watch

    async def wanted(self) -> None:
        """Return as soon as the interaction is to end, has ended, or is gone.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        this = {"interaction_id": self._interaction_id}
        while True:
            await self._watch.changed()
            async with self._database.read() as connection:
                if await connection.scalar(_GOES_ON, this) is None:
                    return
