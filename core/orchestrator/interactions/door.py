"""The way in: a few at a time ask the database, and hardly anybody while the service is known to be full.

The database lets in one after another. A crowd that queued there would keep those from it who end interactions, and who
waits too long there takes the database for unavailable: so many more requests than the service takes would make it take
fewer. Here they wait in front of it, and the first that is told that the service is full tells all behind it; or that
the database does not answer, for each of them would find that out no sooner.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from core.orchestrator.errors import OverloadedError, StorageUnavailableError
from core.orchestrator.interactions.limits import in_a_while

_PATIENCE = timedelta(seconds=3)
_FULL_FOR = timedelta(milliseconds=100)
"""Long enough for a crowd, and so short that hardly a place stays free for it."""

Result = TypeVar("Result")


class Door:
    """Where everybody waits who wants an interaction opened by this process."""

    def __init__(self, at_a_time: int, patience: timedelta = _PATIENCE, full_for: timedelta = _FULL_FOR) -> None:
        """Let `at_a_time` ask at a time; nobody waits for longer than `patience`.

        What kept one out counts for so long.
        """
        self._turns = asyncio.Semaphore(at_a_time)
        self._patience = patience.total_seconds()
        self._full_for = full_for.total_seconds()
        self._full_until = self._away_until = 0.0
        self._refusal = ""

    async def through(self, ask: Callable[[], Awaitable[Result]], *, in_any_case: bool = False) -> Result:
        """Return what came of asking.

        Args:
            ask: opens an interaction, or says why not.
            in_any_case: ask even if the service is known to be full: for one who may have been let in before.

        Raises:
            OverloadedError: the service is full, or too many wait here.
            StorageUnavailableError: the database does not answer.
        """
        waits = self._turns.locked()
        async with self._turn():
            # One turn that ends so may have waited for something of its own; when all are taken, so would the next.
            if waits and monotonic() < self._away_until:
                raise StorageUnavailableError("the database does not answer")
            if not in_any_case and monotonic() < self._full_until:
                raise OverloadedError(self._refusal, in_a_while())
            try:
                return await ask()
            except OverloadedError as refusal:
                self._refusal = str(refusal)
                self._full_until = monotonic() + self._full_for
                raise
            except StorageUnavailableError:
                self._away_until = monotonic() + self._full_for
                raise

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            raise OverloadedError("more is asked of the service than it can accept", in_a_while()) from None
        try:
            yield
        finally:
            self._turns.release()
