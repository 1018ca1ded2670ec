"""SQLite: one file, shared by the processes of one machine.

A writer takes the write lock at once (`BEGIN IMMEDIATE`): a transaction that read first and asked for the lock later
could be refused in the middle. Writers of one process queue in front of that lock rather than in it, because waiting
inside SQLite is polling.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

from sqlalchemy import URL, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError

from core.orchestrator.errors import ConfigurationError, StorageUnavailableError
from core.orchestrator.storage.changes import Changes
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.sqlite_connection import SqliteConnection, open_connection
from core.orchestrator.storage.sqlite_follower import SqliteFollower
from core.orchestrator.storage.sqlite_purging import empty_log

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.01

PRAGMAS = (
    "journal_mode=wal",
    "synchronous=full",  # a reply that was answered survives a power cut
    "foreign_keys=on",
    "secure_delete=on",  # what was erased is not left lying in the file
)


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
        self._writer = asyncio.Semaphore()
        self._connections = asyncio.Semaphore(connections)
        self._idle: list[SqliteConnection] = []
        self._is_closed = False
        self.connections_in_use = 0
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)),  # a path may hold what an address would give a meaning
            hide_parameters=True,  # an error is logged; prompts and messages are not
            poolclass=NullPool,
            # Its own waiting would be done with our thread; and what takes long runs in another one.
            connect_args={"timeout": 0, "check_same_thread": False, "isolation_level": None},
        )
        event.listen(self.engine, "connect", _set_up)

    @asynccontextmanager
    async def reading(self, *, takes_long: bool = False) -> AsyncIterator[SqliteConnection]:
        """Yield a connection that sees one consistent state."""
        await _others_first()
        with _translated():
            async with self._connected("BEGIN", takes_long=takes_long) as connection:
                yield connection

    @asynccontextmanager
    async def writing(self, *, takes_long: bool = False) -> AsyncIterator[SqliteConnection]:
        """Yield a connection whose transaction has the database for itself: all writers are in one line."""
        await _others_first()
        with _translated():
            # Behind a locked file the queue would otherwise wait one lock's timeout after the other.
            async with (
                self._taken(self._writer, "earlier writes are still waiting"),
                self._connected("BEGIN IMMEDIATE", takes_long=takes_long) as connection,
            ):
                yield connection
                await connection.commit()

    def in_line(self, name: str) -> AbstractAsyncContextManager[None]:  # noqa: ARG002
        """Do nothing: all writers are in one line."""
        return nullcontext()

    def migrating(self) -> AbstractAsyncContextManager[SqliteConnection]:
        """Yield a connection whose transaction has the database for itself."""
        return self.writing()

    def follower(self, changes: Changes) -> SqliteFollower:
        """Return what looks at the file."""
        return SqliteFollower(self._path, changes.tell, self._wait.total_seconds())

    async def announce(self, connection: Connection, topics: Iterable[str]) -> None:
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
        """Close every connection, one that is in use as soon as it is not."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    @asynccontextmanager
    async def _connected(self, how: str, *, takes_long: bool) -> AsyncIterator[SqliteConnection]:
        async with self._taken(self._connections, "every connection is in use"):
            # Kept as they are: to take one from SQLAlchemy's pool and give it back costs as much as a statement.
            if self._idle:
                connection = self._idle.pop()  # the last one has the most in its cache
            else:
                connection = await open_connection(self.engine, self._wait.total_seconds())
            self.connections_in_use += 1
            try:
                await connection.begin(how, takes_long=takes_long)
                yield connection
            finally:
                self.connections_in_use -= 1
                self._give_back(connection)

    def _give_back(self, connection: SqliteConnection) -> None:
        if self._is_closed:
            connection.close()
            return
        try:
            connection.end()
        except sqlite3.Error:
            connection.close()
            raise
        self._idle.append(connection)

    @asynccontextmanager
    async def _taken(self, what: asyncio.Semaphore, why_not: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait.total_seconds()) if what.locked() else nullcontext():
                await what.acquire()
        except TimeoutError:
            raise StorageUnavailableError(f"the database did not answer: {why_not}") from None
        try:
            yield
        finally:
            what.release()


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


def _set_up(driver: sqlite3.Connection, _: object) -> None:
    for pragma in PRAGMAS:
        driver.execute(f"PRAGMA {pragma}")


async def _others_first() -> None:
    """Let the event loop go on: where nothing waits, whoever reads or writes again and again would never let it."""
    await asyncio.sleep(0)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise StorageUnavailableError(f"the database did not answer: {error.orig}") from error
    except sqlite3.Error as error:  # of a transaction that could not begin, or not be committed
        raise StorageUnavailableError(f"the database did not answer: {error}") from error
