"""SQLAlchemy's dialect for SQLite, made asynchronous where something waits, and nowhere else.

A statement that an index answers takes SQLite some microseconds. Handing it to a thread and being woken by it takes a
hundred times as long, most of it processor time under Python's lock. So statements run where they are asked for, and
commits too: a writer that left the event loop for the disk would keep the next one out until the loop came back to it.
What waits for another process's lock tries again later, and what is said to take long runs in a thread.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import URL, AsyncAdaptedQueuePool, Pool
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only
from typing_extensions import override

T = TypeVar("T")

NAME = "sqlite+inline"

_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.02
_PRIMARY_CODE = 0xFF
"""SQLite's extended result codes keep the primary one in their lowest byte (https://sqlite.org/rescode.html)."""

PRAGMAS = (
    "journal_mode=wal",
    "synchronous=full",  # a reply that was answered survives a power cut
    "foreign_keys=on",
    "secure_delete=on",  # what was erased is not left lying in the file
)


class _Cursor(sqlite3.Cursor):
    async def _async_soft_close(self) -> None:
        """Do nothing: what SQLAlchemy's asynchronous results ask of a cursor is there already."""


class _Connection(sqlite3.Connection):
    writes = False
    """Its next transaction takes the lock that only one writer has, from the beginning."""
    takes_long = False
    """The statements of its transaction may take long."""

    @override
    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    @override
    def close(self) -> None:
        # While anybody holds one of its cursors, as the traceback of an error does, SQLite only pretends to close it,
        # and keeps its transaction with the lock of the one writer.
        if self.in_transaction:
            self.rollback()
        super().close()


class InlineSqliteDialect(SQLiteDialect_pysqlite):
    """Python's own `sqlite3`, under an asynchronous engine."""

    driver = "inline"
    is_async = True
    has_terminate = True
    supports_statement_cache = True

    wait_seconds = 5.0
    """How long to wait for the locks of others."""

    @classmethod
    @override
    def get_pool_class(cls, url: URL) -> type[Pool]:
        return AsyncAdaptedQueuePool

    @override
    def create_connect_args(self, url: URL) -> Any:
        arguments, options = super().create_connect_args(url)
        # Its own waiting would be done with our thread; and what takes long runs in another one.
        ours = {"timeout": 0, "check_same_thread": False, "isolation_level": None, "factory": _Connection}
        return arguments, {**options, **ours}

    @override
    def connect(self, *arguments: Any, **options: Any) -> Any:
        connection = cast("_Connection", super().connect(*arguments, **options))
        for pragma in PRAGMAS:
            self._patiently(connection, partial(connection.execute, f"PRAGMA {pragma}"))
        return connection

    @override
    def on_connect(self) -> None:  # type: ignore[override] # as of dialects that have nothing to do
        """Add no functions of Python's: none is used."""

    @override
    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        self._patiently(cursor.connection, partial(cursor.execute, statement, parameters))

    @override
    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        self._patiently(cursor.connection, partial(cursor.executemany, statement, parameters))

    @override
    def do_commit(self, dbapi_connection: Any) -> None:
        self._patiently(dbapi_connection, dbapi_connection.commit)

    @override
    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.close()

    @override
    def do_begin(self, dbapi_connection: Any) -> None:
        begin = "BEGIN IMMEDIATE" if dbapi_connection.writes else "BEGIN"
        self._patiently(dbapi_connection, partial(dbapi_connection.execute, begin))

    def _patiently(self, connection: _Connection, run: Callable[[], T]) -> T:
        """Run what another process's lock may keep from running. SQLite would wait for it too, but with our thread."""
        pause, deadline = _FIRST_PAUSE_SECONDS, 0.0
        while True:
            try:
                if connection.takes_long:
                    return await_only(_in_thread(connection, run))
                await_only(_at_once())  # SQLAlchemy takes a driver that never awaits for a mistake
                return run()
            except sqlite3.OperationalError as error:
                now = asyncio.get_running_loop().time()
                deadline = deadline or now + self.wait_seconds
                if _code(error) != sqlite3.SQLITE_BUSY or now + pause > deadline:
                    raise
            await_only(asyncio.sleep(pause))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def take(connection: AsyncConnection, *, writes: bool) -> None:
    """Say of a connection what its next transaction is."""
    driver = _driver(connection)
    driver.writes, driver.takes_long = writes, False


def leave_loop(connection: AsyncConnection) -> None:
    """Run what is left of an open transaction in a thread."""
    _driver(connection).takes_long = True


def _driver(connection: AsyncConnection) -> _Connection:
    return cast("_Connection", connection.sync_connection.connection.dbapi_connection)  # type: ignore[union-attr]


async def _at_once() -> None:
    pass


async def _in_thread(connection: _Connection, run: Callable[[], T]) -> T:
    """Run a statement in a thread. Should its task be cancelled, the connection is in use no longer than it has to."""
    running = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        connection.interrupt()
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # that it was interrupted is known
        raise


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE


registry.register("sqlite.inline", __name__, InlineSqliteDialect.__name__)
