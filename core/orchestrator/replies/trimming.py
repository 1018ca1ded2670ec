"""Trimming the reply log: some time after its end, nobody watches a reply grow any more.

All that is left of a log is its terminal row, which keeps the number of the last event: whoever comes later, or comes
back, is given the reply as a whole. Every worker trims; two of them at once do no harm.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import delete, select, update

from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.events import TERMINAL_TYPES
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.locks import hold_interactions
from core.orchestrator.storage.tables import erased_interactions, interactions, reply_events

logger = logging.getLogger(__name__)

_AT_A_TIME = 100
"""Writers wait for no more than a few milliseconds."""
_LONGEST_PAUSE = timedelta(minutes=1)
_PAUSES_PER_LIFETIME = 10


class ReplyLogTrimmer:
    """Removes what nobody needs any more."""

    def __init__(self, database: Database, lifetime: timedelta, retention: timedelta, clock: Clock = utc_now) -> None:
        """Trim the logs in `database`.

        Args:
            database: where they are.
            lifetime: how long after the end of its interaction a log is kept.
            retention: how long a workflow may be known to Temporal after its end; then nothing can bring an erased
                interaction back, and its id need not be known any more.
            clock: what time it is.
        """
        self._database = database
        self._lifetime = lifetime
        self._retention = retention
        self._clock = clock

    @asynccontextmanager
    async def kept_trimmed(self) -> AsyncIterator[None]:
        """Trim at the beginning of the block, and again and again during it; nobody waits for it."""
        task = asyncio.create_task(self._keep_trimmed())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def _keep_trimmed(self) -> None:
        pause = min(self._lifetime / _PAUSES_PER_LIFETIME, _LONGEST_PAUSE)
        while True:
            try:
                await self.trim()
            except StorageUnavailableError as error:
                logger.warning("the reply log could not be trimmed: %s", error)
            await asyncio.sleep(pause.total_seconds())

    async def trim(self) -> None:
        """Remove the events of the interactions that ended long enough ago, and the ids that were erased long ago.

        Raises:
            StorageUnavailableError: the database did not answer; what was removed stays removed.
        """
        while len(await self._trim_some()) == _AT_A_TIME:
            pass
        async with self._database.read() as connection:
            old = erased_interactions.c.erased_at < self._clock() - self._retention
            found = await connection.scalar(select(erased_interactions.c.interaction_id).where(old).limit(1))
        if found is not None:
            async with self._database.write() as connection:
                await connection.execute(delete(erased_interactions).where(old))

    async def _trim_some(self) -> list[str]:
        ended_before = interactions.c.ended_at < self._clock() - self._lifetime
        query = (
            select(interactions.c.interaction_id)
            .where(interactions.c.watched, ended_before)
            .order_by(interactions.c.ended_at)
            .limit(_AT_A_TIME)
        )
        async with self._database.read() as connection:
            found = list(await connection.scalars(query))
        if found:
            async with self._database.write() as connection:
                await hold_interactions(connection, found)
                await connection.execute(
                    delete(reply_events).where(
                        reply_events.c.interaction_id.in_(found), reply_events.c.type.not_in(TERMINAL_TYPES)
                    )
                )
                await connection.execute(
                    update(interactions).where(interactions.c.interaction_id.in_(found)).values(watched=False)
                )
        return found
