"""SQLite on the event loop: what may take long leaves it, and what waits for others' locks does."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from core.orchestrator.storage.connection import Connection
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.storage.sqlite_connection import SqliteConnection
from core.orchestrator.storage.tables import sessions
from tests.core.orchestrator.storage.rows import count_sessions, session_row

LONG = text(
    "WITH RECURSIVE numbers(n) AS (SELECT begun() UNION ALL SELECT n + 1 FROM numbers WHERE n < :most) "
    "SELECT count(*) FROM numbers"
)
FOR_EVER = 10**12


async def count(connection: Connection, most: int, begun: asyncio.Event) -> None:
    """Run a statement that takes long, and tell when it runs."""
    loop = asyncio.get_running_loop()

    def tell() -> int:
        loop.call_soon_threadsafe(begun.set)
        return 1

    driver_of(connection).create_function("begun", 0, tell)
    await connection.execute(LONG, {"most": most})


def driver_of(connection: Connection) -> sqlite3.Connection:
    assert isinstance(connection, SqliteConnection)
    return connection.driver


@pytest.fixture
async def database(database_path: Path) -> AsyncIterator[Database]:
    database = open_database(database_path, connections=2, wait=timedelta(seconds=10))
    yield database
    await database.close()


async def test_a_statement_that_takes_long_keeps_nobody_else_waiting(database: Database) -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def count_long() -> None:
        async with database.read(takes_long=True) as connection:
            await count(connection, 1_000_000, begun)
        ended.append("long")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(count_long())
        await begun.wait()
        await count_sessions(database)
        ended.append("short")
    assert ended == ["short", "long"]


async def test_a_long_statement_that_nobody_waits_for_any_more_is_broken_off(database: Database) -> None:
    async def count_for_ever(begun: asyncio.Event) -> None:
        async with database.read(takes_long=True) as connection:
            await count(connection, FOR_EVER, begun)

    for _ in range(3):  # more often than there are connections
        begun = asyncio.Event()
        counting = asyncio.create_task(count_for_ever(begun))
        await begun.wait()
        counting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(counting, 5)
    assert await count_sessions(database) == 0


async def test_a_long_write_that_is_cancelled_leaves_no_lock_behind(database: Database) -> None:
    begun = asyncio.Event()

    async def write_for_ever() -> None:
        async with database.write(takes_long=True) as connection:
            await connection.execute(insert(sessions).values(session_row("lost")))
            await count(connection, FOR_EVER, begun)

    writing = asyncio.create_task(write_for_ever())
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await asyncio.wait_for(writing, 5)
    async with database.write() as connection:  # while the error, and all that it refers to, is still there
        await connection.execute(insert(sessions).values(session_row("s1")))
    assert await count_sessions(database) == 1
    assert cancelled.value is not None


async def test_a_long_transaction_whose_statement_ends_as_it_is_broken_off_leaves_no_lock_behind(
    database: Database, database_path: Path
) -> None:
    begun, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def tell_and_wait() -> int:
        loop.call_soon_threadsafe(begun.set)
        goes_on.wait(5)
        return 1  # there is a row now, and what was told to break off never looked

    async def write() -> None:
        async with database.write(takes_long=True) as connection:
            await connection.execute(insert(sessions).values(session_row("lost")))
            driver_of(connection).create_function("begun", 0, tell_and_wait)
            await connection.execute(text("SELECT begun()"))

    for _ in range(3):  # more often than there are connections
        begun.clear()
        goes_on.clear()
        writing = asyncio.create_task(write())
        await begun.wait()
        writing.cancel()
        loop.call_soon(loop.call_soon, goes_on.set)  # when the statement was told
        [outcome] = await asyncio.gather(writing, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError)
    with closing(sqlite3.connect(database_path, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.rollback()
    assert await count_sessions(database) == 0


def test_a_long_statement_that_is_cancelled_before_a_thread_is_free_never_begins(database_path: Path) -> None:
    asyncio.run(cancel_before_a_thread_is_free(database_path))  # in an event loop of its own: it gets a single thread


async def cancel_before_a_thread_is_free(database_path: Path) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    database = open_database(database_path)
    asked, begun, free = asyncio.Event(), asyncio.Event(), threading.Event()

    async def count_for_ever() -> None:
        async with database.read(takes_long=True) as connection:
            loop.run_in_executor(None, free.wait)
            asked.set()
            await count(connection, FOR_EVER, begun)

    counting = asyncio.create_task(count_for_ever())
    await asked.wait()
    counting.cancel()
    await asyncio.sleep(0)
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(counting, 5)
    assert not begun.is_set()
    await database.close()


async def test_a_connection_is_long_for_one_transaction_alone(database: Database) -> None:
    async with database.write(takes_long=True) as connection:
        await connection.execute(insert(sessions).values(session_row("s1")))
        driver = driver_of(connection)
        driver.create_function("thread", 0, threading.get_ident)
        there = await connection.scalar(text("SELECT thread()"))
    async with database.write() as connection:
        assert driver_of(connection) is driver
        here = await connection.scalar(text("SELECT thread()"))
    assert there != threading.get_ident()
    assert here == threading.get_ident()


async def test_a_writer_that_waits_for_another_process_lets_others_read(
    database: Database, database_path: Path
) -> None:
    with closing(sqlite3.connect(database_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        async def write() -> None:
            async with database.write() as connection:
                await connection.execute(insert(sessions).values(session_row("s1")))

        writing = asyncio.create_task(write())
        for _ in range(3):
            await asyncio.sleep(0)
            assert await count_sessions(database) == 0
        assert not writing.done()
        other.execute("COMMIT")
        await asyncio.wait_for(writing, 5)
    assert await count_sessions(database) == 1


async def test_whoever_reads_and_writes_again_and_again_lets_others_have_their_turn(database: Database) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    others = asyncio.create_task(take_turns())
    for ordinal in range(10):
        async with database.write() as connection:
            await connection.execute(insert(sessions).values(session_row(str(ordinal))))
        await count_sessions(database)
    others.cancel()
    assert turns >= 10


async def test_a_connection_is_used_again_without_what_its_last_transaction_did_not_commit(database: Database) -> None:
    drivers: list[sqlite3.Connection] = []

    async def write_and_fail() -> None:
        async with database.write() as connection:
            drivers.append(driver_of(connection))
            await connection.execute(insert(sessions).values(session_row("lost")))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await write_and_fail()
    async with database.write() as connection:
        assert drivers == [driver_of(connection)]
        await connection.execute(insert(sessions).values(session_row("s1")))
        assert database.connections_in_use == 1
    assert database.connections_in_use == 0
    assert await count_sessions(database) == 1


async def test_a_database_that_is_closed_while_it_is_used_leaves_no_connection_open(database: Database) -> None:
    async with database.read() as reading, database.write() as writing:
        drivers = [driver_of(reading), driver_of(writing)]
        await writing.execute(insert(sessions).values(session_row("s1")))
        await database.close()
    for driver in drivers:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            driver.execute("SELECT 1")
