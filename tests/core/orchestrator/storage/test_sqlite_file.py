"""The file of a SQLite database: locked, damaged, new, in odd places, and without what was erased."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from core.orchestrator.errors import ConfigurationError, StorageUnavailableError
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.storage.tables import sessions
from tests.core.orchestrator.storage.rows import count_sessions, schema_of, session_row
from tests.core.orchestrator.vendors import only_sqlite


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# --- a database that does not answer ---


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


async def test_a_file_that_is_no_database_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    path.write_bytes(b"this is no database" * 100)
    database = open_database(path)
    with pytest.raises(StorageUnavailableError, match="not a database"):
        await database.ping()
    with pytest.raises(StorageUnavailableError):
        await database.migrate()
    await database.close()


async def test_a_database_without_our_tables_does_not_answer(tmp_path: Path) -> None:
    database = open_database(tmp_path / "orchestrator.db")
    with pytest.raises(StorageUnavailableError, match="no such table"):
        await count_sessions(database)
    await database.close()


async def test_a_damaged_file_does_not_answer(database_path: Path) -> None:
    damage(database_path)
    database = open_database(database_path)
    with pytest.raises(StorageUnavailableError):
        await count_sessions(database)
    await database.close()


async def test_a_database_locked_by_somebody_else_does_not_answer_writers_but_readers(database_path: Path) -> None:
    database = open_database(database_path, wait=timedelta(milliseconds=50))
    other = sqlite3.connect(database_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailableError, match="locked"):
        async with database.write():
            pass
    assert await count_sessions(database) == 0
    other.execute("ROLLBACK")
    other.close()
    async with database.write() as connection:
        await connection.execute(insert(sessions).values(session_row("s1")))
    assert await count_sessions(database) == 1
    await database.close()


@pytest.mark.parametrize("name", ["file/orchestrator.db", "directory"])
def test_a_place_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(ConfigurationError, match=str(tmp_path / name)):
        open_database(tmp_path / name)


@pytest.mark.parametrize("folder", ["a?b=c", "50%20#1", "a b é", "x&y;z"])
async def test_any_folder_name_will_do(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "deeper" / "orchestrator.db"
    database = open_database(path)
    await database.migrate()
    await database.close()
    assert schema_of(path)
    assert names_in(tmp_path) == [folder]


@only_sqlite
async def test_a_committed_reply_survives_a_power_cut(database: Database) -> None:
    async with database.read() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert await connection.scalar(text("PRAGMA synchronous")) == 2


# --- purging ---


def remove(path: Path) -> None:
    path.unlink()


@only_sqlite
async def test_a_purge_waits_for_a_reader_of_an_earlier_state(database: Database, database_path: Path) -> None:
    log = database_path.with_name(f"{database_path.name}-wal")
    async with database.read() as reading:
        await reading.execute(select(sessions))
        async with database.write() as connection:
            await connection.execute(insert(sessions).values(session_row("s1")))
        purging = asyncio.create_task(database.purge(timedelta(seconds=30)))
        await count_sessions(database)
        assert not purging.done()
    await purging
    assert log.read_bytes() == b""
    assert await count_sessions(database) == 1


@only_sqlite
async def test_a_purge_that_a_reader_holds_up_for_long_gives_up_and_says_so(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with database.read() as reading:
        await reading.execute(select(sessions))
        async with database.write() as connection:
            await connection.execute(insert(sessions).values(session_row("s1")))
        await database.purge(timedelta(milliseconds=50))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "erased" in record.message


@only_sqlite
async def test_a_purge_of_a_file_that_is_gone_says_so_and_makes_none(
    database: Database, database_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remove(database_path)
    await database.purge(timedelta(milliseconds=50))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert database_path.name not in names_in(database_path.parent)


# --- a new one ---


async def test_a_new_file_that_somebody_is_about_to_write_to_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        released = threading.Timer(0.2, other.execute, ["COMMIT"])
        released.start()
        database = open_database(path)
        released.join()
        await database.migrate()
        await database.close()
