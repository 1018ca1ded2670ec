"""The database: one schema, two kinds of transactions, and whoever waits for a write.

What is written here holds for SQLite and for PostgreSQL; where they differ, a `Vendor` knows. Who holds what while it
writes is told in `locks`.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from core.orchestrator.storage.changes import Changes, take_touched
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.migrating import Migration, check, upgrade
from core.orchestrator.storage.postgresql import Postgresql
from core.orchestrator.storage.sqlite import Sqlite
from core.orchestrator.storage.vendor import Vendor

_WAIT = timedelta(seconds=5)
_PATIENCE = timedelta(seconds=1)
_CONNECTIONS = 16


class Database:
    """Transactions on one database, shared by any number of processes."""

    def __init__(self, vendor: Vendor) -> None:
        """Use `open_database` to build one."""
        self._vendor = vendor
        self.changes = Changes(vendor.follower)
        """Who waits for a write, told when it is committed."""

    @property
    def connections_in_use(self) -> int:
        """How many connections are being used at the moment."""
        return self._vendor.connections_in_use

    def read(self, *, takes_long: bool = False) -> AbstractAsyncContextManager[Connection]:
        """Return a connection that sees one consistent state.

        Args:
            takes_long: its statements may take long. Nobody else is to wait for them.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        return self._vendor.reading(takes_long=takes_long)

    @asynccontextmanager
    async def write(self, *, takes_long: bool = False) -> AsyncIterator[Connection]:
        """Yield a connection whose writes are committed together at the end, or not at all.

        Args:
            takes_long: its statements may take long. Nobody else is to wait for them, save those who write as well.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        async with self._vendor.writing(takes_long=takes_long) as connection:
            take_touched(connection)  # a connection is used again, also after a transaction that failed
            yield connection
            if touched := take_touched(connection):
                await self._vendor.announce(connection, touched)
        self.changes.tell(touched)

    def in_line(self, name: str) -> AbstractAsyncContextManager[None]:
        """Let those of this process that are about to write to the same thing come in the order in which they asked.

        They wait without a connection. It is no lock: other processes know nothing of it.

        Raises:
            StorageUnavailableError: those before took too long.
        """
        return self._vendor.in_line(name)

    async def migrate(self) -> Migration:
        """Bring the schema up to date, and tell what was done; nothing is when it is. Several at once do it once.

        Raises:
            ConfigurationError: the database belongs to a later version.
            StorageUnavailableError: the database did not answer.
        """
        async with self._vendor.migrating() as connection:
            return await connection.run_sync(upgrade)

    async def prepare(self, *, alone: bool = False) -> None:
        """Bring the schema up to date where that harms nobody, and make sure that it is.

        Args:
            alone: whether nobody else but this process uses the database. A database that is one file is brought up to
                date all the same; for one that processes of several versions may use, `orchestrator migrate` is a step
                of its own.

        Raises:
            ConfigurationError: the schema is not that of this version.
            StorageUnavailableError: the database did not answer.
        """
        if alone:
            self.changes.relax()
        if alone or self._vendor.keeps_itself:
            await self.migrate()
            return
        async with self.read() as connection:
            await connection.run_sync(check)

    async def ping(self) -> None:
        """Return if the database answers.

        Raises:
            StorageUnavailableError: it does not.
        """
        async with self.read() as connection:
            await connection.execute(select(1))

    async def purge(self, patience: timedelta = _PATIENCE) -> None:
        """Leave as little of what was deleted as the database can, and keep nobody waiting for longer than `patience`.

        What a vendor cannot do it logs, or says in its documentation.
        """
        await self._vendor.purge(patience)

    async def close(self) -> None:
        """Close every connection."""
        await self.changes.close()
        await self._vendor.close()


def open_database(where: Path | str, *, connections: int = _CONNECTIONS, wait: timedelta = _WAIT) -> Database:
    """Prepare a database: a SQLite file, whose folder is created with it, or one of a PostgreSQL server.

    Args:
        where: the file, or an address such as `postgresql://user:password@host/name`.
        connections: at most so many are open at a time; to PostgreSQL there is one more, which hears of changes.
        wait: how long to wait for a connection, for other writers, and for the answer to a statement.

    Raises:
        ConfigurationError: the file cannot be created or written to, or the address is none.
    """
    if isinstance(where, Path):
        return Database(Sqlite(where, connections, wait))
    return Database(Postgresql(where, connections, wait))
