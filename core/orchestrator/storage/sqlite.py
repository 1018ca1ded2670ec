"""SQLite: one file, shared by the processes of one machine.

A writer takes the write lock at once (`BEGIN IMMEDIATE`): a transaction that read first and asked for the lock later
could be refused in the middle. Writers of one process queue in front of that lock rather than in it, because waiting
inside SQLite is polling.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import cast

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from core.orchestrator.errors import ConfigurationError, StorageUnavailableError
from core.orchestrator.storage.changes import Changes
from core.orchestrator.storage.sqlite_dialect import NAME, InlineSqliteDialect, take
from core.orchestrator.storage.sqlite_follower import SqliteFollower
from core.orchestrator.storage.sqlite_purging import empty_log

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.01


class Sqlite:
    """Transactions on one SQLite file."""

    keeps_itself = True

    def __init__(self, path: Path, connections: int, wait: timedelta) -> None:
        """Prepare the database at `path`; its folder and the file are created.

        Raises:
            ConfigurationError: the file cannot be created or written to.
        """
        _check_writable(path)
        _keep_log(path, wait)
        self._path = path
        self._wait = wait
        self._writers = asyncio.Lock()
        self.engine = create_async_engine(
            URL.create(NAME, database=str(path)),  # a path may hold what an address would give a meaning
            hide_parameters=True,  # an error is logged; prompts and messages are not
            pool_size=connections,
            max_overflow=0,
            pool_timeout=wait.total_seconds(),
        )
        cast("InlineSqliteDialect", self.engine.dialect).wait_seconds = wait.total_seconds()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection that sees one consistent state."""
        async with _translated(), self.engine.connect() as connection:
            take(connection, writes=False)
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection whose transaction has the database for itself: all writers are in one line."""
        async with _translated(), self._turn_to_write(), self.engine.connect() as connection:
            take(connection, writes=True)
            yield connection

    def in_line(self, name: str) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Do nothing: all writers are in one line."""
        return nullcontext()

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection whose transaction has the database for itself."""
        async with self.writing() as connection, connection.begin():
            yield connection

    def follower(self, changes: Changes) -> SqliteFollower:
        """Return what looks at the file."""
        return SqliteFollower(self._path, changes.tell, self._wait.total_seconds())

    async def announce(self, connection: AsyncConnection, topics: Iterable[str]) -> None:
        """Do nothing: every commit shows in the file."""

    async def purge(self, patience: timedelta) -> None:
        """Leave nothing of what was deleted in any file; where others hold that up for longer, it is logged.

        What is left then goes with later writes, or when the last process closes the database.
        """
        try:
            if await asyncio.to_thread(empty_log, self._path, patience.total_seconds()):
                return
            reason = "somebody reads it"
        except sqlite3.Error as error:
            reason = str(error)
        logger.warning("what was erased may be left in the database's log for a while: %s", reason)

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
        # Behind a locked file the queue would otherwise wait one lock's timeout after the other.
        try:
            async with asyncio.timeout(self._wait.total_seconds()):
                await self._writers.acquire()
        except TimeoutError:
            raise StorageUnavailableError("the database did not answer: earlier writes are still waiting") from None
        try:
            yield
        finally:
            self._writers.release()


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise ConfigurationError(f"the database {path} cannot be written: {error.strerror}") from error


def _keep_log(path: Path, wait: timedelta) -> None:
    """Let the file have a write-ahead log from now on.

    SQLite does not wait for others to do so while they do the same, as when API and worker begin on a new file at once.
    """
    end = time.monotonic() + wait.total_seconds()
    while True:
        try:
            with closing(sqlite3.connect(path, timeout=wait.total_seconds(), isolation_level=None)) as database:
                database.execute("PRAGMA journal_mode=wal")
        except sqlite3.Error as error:
            if time.monotonic() < end and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                time.sleep(_PAUSE_SECONDS)
                continue
            # Whoever uses the database is told.
            logger.debug("%s has no write-ahead log yet: %s", path, error)
        return


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise StorageUnavailableError(f"the database did not answer: {error.orig}") from error
    except sqlite3.Error as error:  # of a transaction that could not begin
        raise StorageUnavailableError(f"the database did not answer: {error}") from error
    except PoolTimeoutError as error:
        raise StorageUnavailableError("the database did not answer: every connection is in use") from error
