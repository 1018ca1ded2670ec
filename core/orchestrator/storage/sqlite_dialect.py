"""SQLAlchemy's dialect for SQLite, made asynchronous where something waits, and nowhere else.

A statement that an index answers takes SQLite some microseconds. Handing it to a thread and being woken by it takes a
hundred times as long, all of it processor time under Python's lock. So statements run where they are asked for, and
three things do not: what waits for another process's lock tries again later, a commit that waits for the disk is
awaited in a thread, and so is a statement that is said to take long.
"""

import asyncio
import sqlite3
from collections.abc import Callable
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
LONG = "orchestrator_long"
"""The execution option of a connection whose statements may take long."""

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
    """Whether its next transaction is one that writes."""

    @override
    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)


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
        # Its own waiting would be done with our thread; and a commit is made in another one.
        ours = {"timeout": 0, "check_same_thread": False, "isolation_level": None, "factory": _Connection}
        return arguments, {**options, **ours}

    @override
    def connect(self, *arguments: Any, **options: Any) -> Any:
        connection = super().connect(*arguments, **options)
        for pragma in PRAGMAS:
            self._patiently(partial(connection.execute, f"PRAGMA {pragma}"))
        return connection

    @override
    def on_connect(self) -> None:  # type: ignore[override] # as of dialects that have nothing to do
        """Add no functions of Python's: none is used."""

    @override
    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        if context is not None and context.execution_options.get(LONG):
            self._patiently(lambda: self._in_thread(lambda: cursor.execute(statement, parameters)))
            return
        await_only(_at_once())  # SQLAlchemy takes a driver that never awaits for a mistake
        self._patiently(lambda: cursor.execute(statement, parameters))

    @override
    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        await_only(_at_once())
        self._patiently(lambda: cursor.executemany(statement, parameters))

    @override
    def do_commit(self, dbapi_connection: Any) -> None:
        self._patiently(dbapi_connection.commit)

    @override
    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.close()

    @override
    def do_begin(self, dbapi_connection: Any) -> None:
        begin = "BEGIN IMMEDIATE" if dbapi_connection.writes else "BEGIN"
        self._patiently(lambda: dbapi_connection.execute(begin))

    def _in_thread(self, run: Callable[[], T]) -> T:
        """Run what waits for the disk; a task that is cancelled meanwhile leaves no connection in use behind."""
        return await_only(_to_its_end(asyncio.get_running_loop().run_in_executor(None, run)))

    def _patiently(self, run: Callable[[], T]) -> T:
        """Run what another process's lock may keep from running. SQLite would wait for it too, but with our thread."""
        pause, deadline = _FIRST_PAUSE_SECONDS, 0.0
        while True:
            try:
                return run()
            except sqlite3.OperationalError as error:
                now = asyncio.get_running_loop().time()
                deadline = deadline or now + self.wait_seconds
                if _code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or now + pause > deadline:
                    raise
            await_only(asyncio.sleep(pause))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


async def _at_once() -> None:
    pass


async def _to_its_end(future: "asyncio.Future[T]") -> T:
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        raise


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE


def to_write(connection: AsyncConnection, writes: bool) -> None:
    """Say of a connection whether its next transaction takes the lock that only one writer has, from the beginning."""
    driver = connection.sync_connection.connection.dbapi_connection  # type: ignore[union-attr] # it is connected
    cast("_Connection", driver).writes = writes


registry.register("sqlite.inline", __name__, InlineSqliteDialect.__name__)
