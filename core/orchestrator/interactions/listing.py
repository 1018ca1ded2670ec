"""The interactions of a user or a session, newest first.

Their ids are made in the order of time, so the id of the last one seen is where the list goes on: also when others have
come since, and when that one has been erased.
"""

from collections.abc import Sequence

from sqlalchemy import select

from core.orchestrator.contracts import InteractionStatus, InteractionView
from core.orchestrator.interactions.reader import read_views
from core.orchestrator.memory.conversations import owner_of
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions

# What was asked may be long, and no view shows it.
_SHOWN = [column for column in interactions.c if column is not interactions.c.request]


class InteractionLists:
    """Lists interactions."""

    def __init__(self, database: Database) -> None:
        """List what is in `database`."""
        self._database = database

    async def newest(
        self,
        *,
        user_id: str | None,
        session_id: str | None,
        status: InteractionStatus | None,
        before: str | None,
        limit: int,
    ) -> Sequence[InteractionView]:
        """Return interactions as a client sees them, newest first.

        Args:
            user_id: whose; None: anybody's.
            session_id: of which session; None: of any, or of none.
            status: only those that stand so.
            before: only those with a smaller id than this one.
            limit: at most so many.

        Raises:
            UnknownResourceError: there is no such session.
            SessionOwnershipError: the session belongs to another user.
            StorageUnavailableError: the database did not answer.
        """
        query = select(*_SHOWN)
        if user_id is not None:
            query = query.where(interactions.c.user_id == user_id)
        if session_id is not None:
            query = query.where(interactions.c.session_id == session_id)
        if status is not None:
            query = query.where(interactions.c.status == status)
        if before is not None:
            query = query.where(interactions.c.interaction_id < before)
        async with self._database.read() as connection:
            if session_id is not None:
                await owner_of(connection, session_id, user_id)
            rows = await connection.execute(query.order_by(interactions.c.interaction_id.desc()).limit(limit))
            return await read_views(connection, rows.all())
