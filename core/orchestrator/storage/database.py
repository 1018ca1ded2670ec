"""The database: one engine, two kinds of transactions, and the schema brought up to date.

On SQLite a writer takes the write lock at once (`BEGIN IMMEDIATE`): a transaction that read first and asked for the
lock later could be refused in the middle. Writers of one process queue in front of that lock rather than in it,
because waiting inside SQLite is polling.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from core.orchestrator.errors import ConfigurationError, StorageUnavailableError
from core.orchestrator.storage.changes import Changes, take_touched
from core.orchestrator.storage.sqlite_follower import SqliteFollower
from core.orchestrator.storage.sqlite_purging import empty_log

logger = logging.getLogger(__name__)

_WAIT = timedelta(seconds=5)
_PATIENCE = timedelta(seconds=1)
_CONNECTIONS = 16
_WRITE = "orchestrator_write"


class Database:
    """Transactions on one SQLite file, shared by any number of processes."""

    def __init__(self, path: Path, engine: AsyncEngine, wait: timedelta, changes: Changes) -> None:
        """Use `open_database` to build one."""
        self.changes = changes
        """Who waits for a write, told when it is committed."""
        self._path = path
        self._engine = engine
        self._wait = wait
        self._writers = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection that sees one consistent state.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        async with _translated(), self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection whose writes are committed together at the end, or not at all.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        async with _translated(), self._turn_to_write(), self._engine.connect() as connection:
            await connection.execution_options(**{_WRITE: True})
            take_touched(connection)  # a connection is used again, also after a transaction that failed
            async with connection.begin():
                yield connection
            self.changes.tell(take_touched(connection))

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

    async def migrate(self) -> None:
        """Bring the schema up to date; nothing happens when it is.

        Raises:
            ConfigurationError: the database belongs to a later version.
            StorageUnavailableError: the database did not answer.
        """
        try:
            async with self.write() as connection:
                await connection.run_sync(_upgrade)
        except CommandError as error:
            raise ConfigurationError(f"the database was made by a later version: {error}") from error

    async def ping(self) -> None:
        """Return if the database answers.

        Raises:
            StorageUnavailableError: it does not.
        """
        async with self.read() as connection:
            await connection.execute(select(1))

    async def purge(self, patience: timedelta = _PATIENCE) -> None:
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
        await self.changes.close()
        await self._engine.dispose()


def open_database(path: Path, *, connections: int = _CONNECTIONS, wait: timedelta = _WAIT) -> Database:
    """Prepare the SQLite database at `path`; its folder and the file are created.

    Args:
        path: the file.
        connections: at most so many are open at a time.
        wait: how long to wait for a connection, for earlier writers of this process, and for those of others.

    Raises:
        ConfigurationError: the file cannot be created or written to.
    """
    _check_writable(path)
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),  # a path may hold what an address would give a meaning
        connect_args={"timeout": wait.total_seconds()},
        hide_parameters=True,  # an error is logged; prompts and messages are not
        pool_size=connections,
        max_overflow=0,
        pool_timeout=wait.total_seconds(),
    )
    event.listen(engine.sync_engine, "connect", _configure)
    event.listen(engine.sync_engine, "begin", _begin)
    changes = Changes(lambda tell: SqliteFollower(path, tell, wait.total_seconds()))
    return Database(path, engine, wait, changes)


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise ConfigurationError(f"the database {path} cannot be written: {error.strerror}") from error


def _configure(dbapi_connection: Any, _record: Any) -> None:
    # The driver's own implicit BEGIN is switched off: `_begin` says when and how.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in (
        "journal_mode=wal",
        "synchronous=full",  # a reply that was answered survives a power cut
        "foreign_keys=on",
        "secure_delete=on",  # what was erased is not left lying in the file
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise StorageUnavailableError(f"the database did not answer: {error.orig}") from error
    except PoolTimeoutError as error:
        raise StorageUnavailableError("the database did not answer: every connection is in use") from error
