"""The space of erased rows is freed within minutes of an erasure, rather than when enough of a table has changed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import asyncpg

from core.orchestrator.errors import OrchestratorError
from core.orchestrator.log_context import begun_apart
from core.orchestrator.storage.tables import metadata

logger = logging.getLogger(__name__)

_DELAY_SECONDS = 5
"""Whoever erases one thing may be about to erase another."""
_PAUSE_SECONDS = 60
"""From the end of one vacuum to the next: each reads every index."""
# As gentle as the server's own; a table that another process is at is left to it.
_UNHURRIED = "SET statement_timeout = 0; SET vacuum_cost_delay = '2ms'"
_VACUUM = f"VACUUM (SKIP_LOCKED) {', '.join(metadata.tables)}"


class Vacuuming:
    """Vacuums the tables behind the backs of those who erase."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], delay: float = _DELAY_SECONDS) -> None:
        """Use a connection of its own, made by `connect`, and begin after so many seconds."""
        self._connect = connect
        self._delay = delay
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Have it done soon."""
        self._wanted.set()
        if self._task is None:
            self._task = begun_apart(self._run())

    async def close(self) -> None:
        """Leave what is not done to the server."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            await asyncio.sleep(self._delay)
            self._wanted.clear()
            try:
                await self._vacuum()
            except (OrchestratorError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                logger.warning("what was erased is left to the database's own vacuum: %s", type(error).__name__)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _vacuum(self) -> None:
        connection = await self._connect()
        try:
            await connection.execute(_UNHURRIED)
            await connection.execute(_VACUUM)
        finally:
            connection.terminate()
