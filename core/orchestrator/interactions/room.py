"""Room behind a limit: interactions that count as open although nobody works on them any more are ended.

A process may be lost between opening an interaction and starting its workflow, and an operator may terminate a run:
such a one would use up its place for ever. They are looked for by whoever finds a limit reached, a few at a time, so
that a service that is really full does not ask Temporal about everything it does.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from time import monotonic

from sqlalchemy import Select

from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.errors import OverloadedError, TooManyOpenError, UnknownResourceError
from core.orchestrator.interactions.limits import open_interactions, smallest_id_at
from core.orchestrator.interactions.settlement import Settlement
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.tables import interactions

_OLD = timedelta(seconds=10)
"""Nobody is lost who came later: a start takes less."""
_AT_A_TIME = 5
_PAUSE = timedelta(seconds=1)
_REMEMBERED = 1000

_Whose = tuple[str | None, str | None]


class Room:
    """Makes room where a limit is reached, if there is some to be made."""

    def __init__(
        self, database: Database, settlement: Settlement, clock: Clock = utc_now, pause: timedelta = _PAUSE
    ) -> None:
        """Look into `database` and end through `settlement`, not more often than once in a `pause` for one limit."""
        self._database = database
        self._settlement = settlement
        self._clock = clock
        self._pause = pause.total_seconds()
        self._looks: dict[_Whose, tuple[float, str]] = {}
        """For each limit when it was last looked behind, and how far: the next look goes on from there."""

    async def made_for(self, refusal: TooManyOpenError | OverloadedError) -> bool:
        """End a few of the oldest that count behind a limit if their workflow is gone; return whether one has ended.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        whose = (refusal.user_id, refusal.key_name) if isinstance(refusal, TooManyOpenError) else (None, None)
        looked_at, after = self._looks.get(whose, (-self._pause, ""))
        if monotonic() - looked_at < self._pause:
            return False
        self._note(whose, after)  # before anything is awaited: those who are refused together look once
        found = await self._oldest(whose, after)
        self._note(whose, found[-1] if len(found) == _AT_A_TIME else "")
        ended = any(await asyncio.gather(*map(self._is_gone, found)))
        if ended:
            self._looks.pop(whose, None)  # there may be more
        return ended

    def _note(self, whose: _Whose, after: str) -> None:
        self._looks.pop(whose, None)
        self._looks[whose] = (monotonic(), after)
        if len(self._looks) > _REMEMBERED:
            del self._looks[next(iter(self._looks))]

    async def _oldest(self, whose: _Whose, after: str) -> list[str]:
        interaction_id = interactions.c.interaction_id
        query = _of(whose).where(interaction_id > after, interaction_id < smallest_id_at(self._clock() - _OLD))
        async with self._database.read() as connection:
            return list(await connection.scalars(query.order_by(interaction_id).limit(_AT_A_TIME)))

    async def _is_gone(self, interaction_id: str) -> bool:
        with suppress(UnknownResourceError):  # it was erased meanwhile
            return await self._settlement.settle_if_gone(interaction_id)
        return True


def _of(whose: _Whose) -> Select[tuple[str]]:
    user_id, key_name = whose
    query = open_interactions()
    if user_id is not None:
        query = query.where(interactions.c.user_id == user_id)
    if key_name is not None:
        query = query.where(interactions.c.key_name == key_name)
    return query
