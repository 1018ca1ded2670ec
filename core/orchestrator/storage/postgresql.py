"""PostgreSQL: a server, shared by the processes of any number of machines, which may be away for a while.

A reader sees one state (REPEATABLE READ, READ ONLY). Writers run side by side (READ COMMITTED) and hold what they
decide by: see `locks`.

Nothing waits for longer than it is told to. The server ends a statement, and a wait for a lock, that takes too long,
and the transaction of a client that has fallen silent. A server that is silent itself, because it is paused or the
network is gone, is left by `_Limit`: it cuts the connection, whatever is waiting on it. A connection that was cut, from
either side, is never handed out again, so a restarted server costs no more than what was under way.

What the limits are is set by each connection itself, with statements: a proxy would refuse them as start parameters.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4
from weakref import WeakValueDictionary

import asyncpg
import sqlalchemy
from sqlalchemy import QueuePool, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from core.orchestrator.errors import ConfigurationError, StorageUnavailableError
from core.orchestrator.storage.changes import Changes
from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.locks import hold
from core.orchestrator.storage.postgresql_follower import CHANNEL, PostgresqlFollower, payloads_of
from core.orchestrator.storage.postgresql_vacuuming import Vacuuming

_LIMIT = "orchestrator_limit"
_TO_CONNECT = 0.8
"""So much of a wait may go by until there is a connection, and as much until there is a lock."""
_TO_STATE = 0.9
"""So much of a wait may a statement take: then the server itself ends it, and the connection stays."""
_SILENT_CLIENT_SECONDS = 10
"""A worker that is paused in the middle of a transaction does not keep others waiting for longer."""
_KEEPALIVE_SECONDS = 30
_RECYCLE_SECONDS = 3600
_NOTIFY = text("SELECT pg_notify(:channel, payload) FROM unnest(CAST(:payloads AS text[])) AS payload").bindparams(
    channel=CHANNEL
)
_VALUES_IN_MESSAGE = "22"
"""The class of errors whose message quotes the value that does not fit."""


class Postgresql:
    """Transactions on one database of a PostgreSQL server."""

    keeps_itself = False

    def __init__(self, address: str, connections: int, wait: timedelta) -> None:
        """Prepare connections to `address`; none is made yet."""
        self._address = address
        self._wait = wait.total_seconds()
        self._limits = (
            "SET application_name = 'orchestrator';"
            f"SET statement_timeout = {round(self._wait * _TO_STATE * 1000)};"
            f"SET lock_timeout = {round(self._wait * _TO_CONNECT * 1000)};"
            f"SET idle_in_transaction_session_timeout = '{_SILENT_CLIENT_SECONDS}s';"
            f"SET tcp_keepalives_idle = {_KEEPALIVE_SECONDS}"
        )
        self._process = uuid4().hex
        """Tells this process's notifications from others'."""
        self._vacuuming = Vacuuming(self._connect)
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            hide_parameters=True,  # an error is logged; prompts and messages are not
            pool_size=connections,
            max_overflow=0,
            pool_timeout=self._wait * _TO_CONNECT,
            pool_recycle=_RECYCLE_SECONDS,
            pool_use_lifo=True,  # what a busy hour needed is closed again
        )
        event.listen(self.engine.sync_engine, "checkout", _refuse_if_cut)
        event.listen(self.engine.sync_engine, "after_cursor_execute", _answered)
        event.listen(self.engine.sync_engine, "commit", _answered)

    @property
    def connections_in_use(self) -> int:
        """How many connections are being used at the moment."""
        pool = self.engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    @asynccontextmanager
    async def reading(self, *, takes_long: bool = False) -> AsyncIterator[AsyncConnection]:  # noqa: ARG002
        """Yield a connection that sees one consistent state."""
        async with self._connected("REPEATABLE READ", postgresql_readonly=True) as connection:
            yield connection

    @asynccontextmanager
    async def writing(self, *, takes_long: bool = False) -> AsyncIterator[AsyncConnection]:  # noqa: ARG002
        """Yield a connection each of whose statements sees what others have committed by then."""
        async with self._connected("READ COMMITTED") as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def in_line(self, name: str) -> AsyncIterator[None]:
        """Let those of this process that name the same thing come one after the other, in the order they asked."""
        lock = self._lines.setdefault(name, asyncio.Lock())
        with _translated():
            async with asyncio.timeout(self._wait * _TO_CONNECT):
                await lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection in a transaction that may take its time, and that nobody else's migration runs beside."""
        async with self._connected("READ COMMITTED", is_limited=False) as connection, connection.begin():
            for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                await connection.execute(text(f"SET LOCAL {limit} = 0"))
            await hold(connection, "migration")
            yield connection

    def follower(self, changes: Changes) -> PostgresqlFollower:
        """Return what listens."""
        return PostgresqlFollower(self._process, self._connect, self._notify, changes, wait_seconds=self._wait)

    async def announce(self, connection: Connection, topics: Iterable[str]) -> None:
        """Notify other processes of the topics with the commit; this one is told without."""
        await connection.execute(_NOTIFY, {"payloads": payloads_of(self._process, topics)})

    async def purge(self, patience: timedelta) -> None:  # noqa: ARG002
        """Let the space of what was deleted be used again soon; nobody waits for it.

        No more can be done from here. A deleted row is out of reach of every query at once. Its bytes stay in the
        table's file until a vacuum has freed their space and something else is written there, in the write-ahead log
        until the server recycles it, and in every backup and replica for as long as these are kept: that is for
        whoever runs the server to limit.
        """
        self._vacuuming.begin()

    async def close(self) -> None:
        """Close every connection."""
        await self._vacuuming.close()
        await self.engine.dispose()

    async def _notify(self, payload: str) -> None:
        async with self.writing() as connection:
            await connection.execute(_NOTIFY, {"payloads": [payload]})

    async def _connect(self) -> asyncpg.Connection:
        try:
            connection = await asyncpg.connect(self._address, timeout=self._wait * _TO_CONNECT)
        except ValueError:  # what it says may quote the password
            raise ConfigurationError("DATABASE_URL: is no address of a PostgreSQL database") from None
        await connection.execute(self._limits, timeout=self._wait)
        return connection

    @asynccontextmanager
    async def _connected(
        self, isolation_level: str, *, is_limited: bool = True, **options: Any
    ) -> AsyncIterator[AsyncConnection]:
        with _translated(), _Limit(self._wait) as limit:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._wait * _TO_CONNECT):
                    connection = await stack.enter_async_context(self.engine.connect())
                if is_limited:
                    await limit.watch_over(connection)
                await connection.execution_options(isolation_level=isolation_level, **options)
                yield connection


class _Limit:
    """Cuts a connection whose server has not answered for too long."""

    def __init__(self, seconds: float) -> None:
        """Give the server `seconds` for its first answer, from now on, and for each one that follows."""
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._deadline = self._loop.time() + seconds
        self._timer: asyncio.TimerHandle | None = None

    async def watch_over(self, connection: AsyncConnection) -> None:
        """Begin; the driver's connection is cut, for whatever waits on it is not to be cancelled but to fail."""
        driver = (await connection.get_raw_connection()).driver_connection
        await connection.execution_options(**{_LIMIT: self})
        self._look(driver)

    def answered(self) -> None:
        """Give the server its time anew."""
        self._deadline = self._loop.time() + self._seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, driver: asyncpg.Connection) -> None:
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look, driver)
        else:
            driver.terminate()


def _answered(connection: sqlalchemy.Connection, *_: object) -> None:
    if (limit := connection.get_execution_options().get(_LIMIT)) is not None:
        limit.answered()


def _refuse_if_cut(dbapi_connection: Any, *_: object) -> None:
    """Have the pool make a new connection in place of one that the server has closed; no question is asked for it."""
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError


@contextmanager
def _translated() -> Iterator[None]:
    """Raise what the domain knows, without what the driver's errors quote of the rows."""
    try:
        yield
    except IntegrityError as error:
        raise _without_values(error) from None
    except DBAPIError as error:
        if _quotes_a_value(error):
            kind = type(error.driver_exception).__name__
            raise ValueError(f"a value does not fit into the database: {kind}") from None
        raise StorageUnavailableError(f"the database did not answer: {_said(error.driver_exception)}") from None
    except PoolTimeoutError:
        raise StorageUnavailableError("the database did not answer: every connection is in use") from None
    except TimeoutError:
        raise StorageUnavailableError("the database did not answer in time") from None
    except OSError as error:
        raise StorageUnavailableError(f"the database did not answer: {error.strerror or 'no connection'}") from None


def _without_values(error: IntegrityError) -> IntegrityError:
    """Return the error without its causes: these tell which values are there twice, or miss."""
    while_handling: BaseException | None = error.orig
    if while_handling is not None:
        while_handling.__cause__ = while_handling.__context__ = None
    error.__cause__ = error.orig
    return error


def _quotes_a_value(error: DBAPIError) -> bool:
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    return sqlstate.startswith(_VALUES_IN_MESSAGE) or isinstance(error.driver_exception, asyncpg.DataError | ValueError)


def _said(error: BaseException | None) -> str:
    return str(error.args[0]) if error is not None and error.args else "no reason was given"
