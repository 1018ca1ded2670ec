"""A transaction of SQLite, whose statements run in the event loop where they are asked for.

A statement that an index answers takes SQLite some microseconds. Handing it to a thread and being woken by it takes a
hundred times as long, and SQLAlchemy's own way of making a driver asynchronous as long as the statement. So they run
where they are asked for, and commits too: a writer that left the event loop for the disk would keep the next one out
until the loop came back to it. What waits for another process's lock tries again later, and what takes long runs in a
thread.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Dialect, Engine, Executable, ScalarResult
from sqlalchemy.exc import DBAPIError, OperationalError

from core.orchestrator.storage.connection import Parameters

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.02
_PRIMARY_CODE = 0xFF
"""SQLite's extended result codes keep the primary one in their lowest byte (https://sqlite.org/rescode.html)."""


class SqliteConnection:
    """A `Connection` on top of Python's own `sqlite3`, for one transaction after the other."""

    def __init__(self, connection: Connection, wait_seconds: float) -> None:
        """Use `open_connection` to make one."""
        self.driver = cast("sqlite3.Connection", connection.connection.dbapi_connection)
        """Begins and commits: SQLAlchemy, which knows of neither, makes statements and reads rows."""
        self._connection = connection
        self._wait_seconds = wait_seconds
        self._takes_long = False

    @property
    def dialect(self) -> Dialect:
        """SQLite's."""
        return self._connection.dialect

    @property
    def info(self) -> dict[Any, Any]:
        """What is noted of the connection."""
        return self._connection.info

    async def begin(self, how: str, *, takes_long: bool) -> None:
        """Begin a transaction.

        Args:
            how: `BEGIN`, or `BEGIN IMMEDIATE` to take the lock that only one writer has.
            takes_long: its statements may take long.
        """
        self._takes_long = takes_long
        await self._run(partial(self.driver.execute, how))

    async def commit(self) -> None:
        """Let others see what was written, once it is on the disk."""
        await self._run(self.driver.commit)

    def end(self) -> None:
        """End the transaction, without what was not committed."""
        self.driver.rollback()

    def close(self) -> None:
        """End the transaction, and never begin another one."""
        self._connection.close()

    async def execute(
        self, statement: Executable, parameters: Parameters | None = None, /
    ) -> CursorResult[*tuple[Any, ...]]:
        """Execute a statement."""
        return await self._run(partial(self._connection.execute, statement, parameters))

    async def scalar(self, statement: Executable, parameters: Parameters | None = None, /) -> Any:
        """Return the first column of the first row, or None."""
        return (await self.execute(statement, parameters)).scalar()

    async def scalars(self, statement: Executable, parameters: Parameters | None = None, /) -> ScalarResult[Any]:
        """Return the first column of every row."""
        return (await self.execute(statement, parameters)).scalars()

    async def exec_driver_sql(self, statement: str, parameters: Any = None, /) -> CursorResult[*tuple[Any, ...]]:
        """Execute SQL in SQLite's own words."""
        return await self._run(partial(self._connection.exec_driver_sql, statement, parameters))

    async def run_sync(self, function: Callable[..., T], /) -> T:
        """Call a function with SQLAlchemy's own `Connection`."""
        return function(self._connection)

    async def _run(self, run: Callable[[], T]) -> T:
        return await _patiently(run, self._wait_seconds, self.driver if self._takes_long else None)


async def open_connection(engine: Engine, wait_seconds: float) -> SqliteConnection:
    """Open a connection that waits so long for the locks of others."""
    return SqliteConnection(await _patiently(engine.connect, wait_seconds), wait_seconds)


async def _patiently(run: Callable[[], T], wait_seconds: float, in_thread_for: sqlite3.Connection | None = None) -> T:
    """Run what another process's lock may keep from running. SQLite would wait for it too, but with our thread."""
    pause, deadline = _FIRST_PAUSE_SECONDS, 0.0
    while True:
        try:
            return run() if in_thread_for is None else await _in_thread(in_thread_for, run)
        except (sqlite3.OperationalError, OperationalError) as error:
            now = asyncio.get_running_loop().time()
            deadline = deadline or now + wait_seconds
            if not _is_busy(error) or now + pause > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


async def _in_thread(connection: sqlite3.Connection, run: Callable[[], T]) -> T:
    """Run a statement in a thread. Should its task be cancelled, the connection is in use no longer than it has to."""
    wanted = True

    def run_if_wanted() -> T | None:
        return run() if wanted else None

    running = asyncio.get_running_loop().run_in_executor(None, run_if_wanted)
    try:
        return cast("T", await asyncio.shield(running))
    except asyncio.CancelledError:
        wanted = False
        while not running.done():
            connection.interrupt()  # which does nothing to a statement that is about to begin
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running], timeout=_LONGEST_PAUSE_SECONDS)
        # A statement that is open keeps its snapshot, or the lock; and an interrupted connection refuses all others.
        if running.exception() is None and isinstance(result := running.result(), CursorResult):
            result.close()
        raise


def _is_busy(error: sqlite3.Error | DBAPIError) -> bool:
    told = error.orig if isinstance(error, DBAPIError) else error
    return getattr(told, "sqlite_errorcode", 0) & _PRIMARY_CODE == sqlite3.SQLITE_BUSY
