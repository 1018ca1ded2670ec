import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from core.orchestrator.errors import ConfigurationError, StorageUnavailableError
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.storage.tables import interactions, metadata, sessions
from tests.core.orchestrator.domain import NOON, request
from tests.core.orchestrator.storage.rows import count_sessions, schema_of, session_row
from tests.core.orchestrator.vendors import only_sqlite

ROOT = Path(__file__).parents[4]


@asynccontextmanager
async def processes(*commands: list[str]) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Start writers that wait for one another, and let them go at the same moment."""
    pipe = asyncio.subprocess.PIPE
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.core.orchestrator.storage.writer",
            *command,
            cwd=ROOT,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
        )
        for command in commands
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n", (await process.communicate())[1].decode()
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def release(started: list[asyncio.subprocess.Process]) -> None:
    for process, (_, errors) in zip(
        started, await asyncio.gather(*(process.communicate(b"go\n") for process in started)), strict=True
    ):
        assert process.returncode == 0, errors.decode()


# --- transactions ---


async def test_what_is_written_is_there_for_the_next_reader(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(sessions).values(session_row("s1")))
    assert await count_sessions(database) == 1


async def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    async def break_off() -> None:
        async with database.write() as connection:
            await connection.execute(insert(sessions).values(session_row("s1")))
            raise LookupError

    with pytest.raises(LookupError):
        await break_off()
    assert await count_sessions(database) == 0


async def test_a_cancelled_write_leaves_nothing_and_frees_the_lock(database: Database) -> None:
    written = asyncio.Event()

    async def hang() -> None:
        async with database.write() as connection:
            await connection.execute(insert(sessions).values(session_row("s1")))
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.write() as connection:
        await connection.execute(insert(sessions).values(session_row("s2")))
    assert await count_sessions(database) == 1


async def test_a_reader_sees_one_state_and_is_not_kept_waiting_by_a_writer(database: Database) -> None:
    async with database.write() as writing:
        await writing.execute(insert(sessions).values(session_row("s1")))
        assert await count_sessions(database) == 0
    async with database.read() as reading:
        query = select(func.count()).select_from(sessions)
        before = await reading.scalar(query)
        async with database.write() as writing:
            await writing.execute(insert(sessions).values(session_row("s2")))
        assert (before, await reading.scalar(query)) == (1, 1)


async def test_a_reader_cannot_leave_a_write_behind(database: Database) -> None:
    with suppress(StorageUnavailableError):  # PostgreSQL refuses it
        async with database.read() as connection:
            await connection.execute(insert(sessions).values(session_row("s1")))
    assert await count_sessions(database) == 0


async def test_a_broken_constraint_is_a_bug_and_not_an_absent_database(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await connection.execute(insert(sessions), [session_row("s1"), session_row("s1")])


async def test_a_message_without_its_interaction_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await connection.execute(
                text("INSERT INTO completions (interaction_id, place, ordinal, text) VALUES ('none', 0, 1, 'x')")
            )


async def test_more_readers_than_connections_wait_for_their_turn(database: Database) -> None:
    assert await asyncio.gather(*(count_sessions(database) for _ in range(100))) == [0] * 100


async def test_a_pool_that_stays_exhausted_is_a_database_that_does_not_answer(place: Path | str) -> None:
    database = open_database(place, connections=1, wait=timedelta(milliseconds=200))
    async with database.read():
        with pytest.raises(StorageUnavailableError):
            await database.ping()
    await database.ping()
    await database.close()


async def test_a_write_does_not_queue_for_ever_behind_others(database_path: Path) -> None:
    database = open_database(database_path, wait=timedelta(milliseconds=20))
    async with database.write():
        with pytest.raises(StorageUnavailableError):
            async with database.write():
                pass
    async with database.write():
        pass
    await database.close()


# --- many writers ---


async def test_fifty_writers_of_one_process_all_get_through(database: Database) -> None:
    store = InteractionStore(database)
    await asyncio.gather(*(store.open_turn(request(session_id=f"s{n % 5}")) for n in range(50)))
    assert await count_sessions(database) == 5


async def test_writers_of_two_processes_number_one_session_without_gap_or_lock(
    database: Database, place: Path | str
) -> None:
    async with processes(*[["open", str(place), "shared", "40"]] * 2) as started:
        store = InteractionStore(database)
        ours = asyncio.gather(*(store.open_turn(request(session_id="shared")) for _ in range(40)))
        await release(started)
        await ours
    async with database.read() as connection:
        turns = (await connection.scalars(select(interactions.c.turn).order_by(interactions.c.turn))).all()
    assert turns == list(range(1, 121))


# --- migrations ---


@only_sqlite
async def test_migrating_twice_changes_nothing(database: Database, database_path: Path) -> None:
    before = schema_of(database_path)
    async with database.write() as connection:
        await connection.execute(insert(sessions).values(session_row("s1")))
    await database.migrate()
    assert schema_of(database_path) == before
    assert await count_sessions(database) == 1


async def test_the_migrations_lead_to_the_tables_in_the_code(database: Database) -> None:
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415 - only here
    from alembic.migration import MigrationContext  # noqa: PLC0415

    async with database.read() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), metadata)
        )
    assert differences == []


async def test_processes_that_migrate_at_once_all_succeed(tmp_path: Path, migrated_file: Path) -> None:
    path = tmp_path / "fresh.db"
    async with processes(*[["migrate", str(path)]] * 3) as started:
        await release(started)
    assert schema_of(path) == schema_of(migrated_file)


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE prompts (mine TEXT)")  # in the way of the last table to be created
    other.close()
    database = open_database(path)
    with pytest.raises(StorageUnavailableError):
        await database.migrate()
    await database.close()
    assert [name for name, _ in schema_of(path)] == ["prompts"]


@only_sqlite
async def test_a_database_from_a_later_version_is_refused(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="9999"):
        await database.migrate()


# --- moments ---


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 1, 31, 23, 30, tzinfo=timezone(timedelta(hours=-5))),
        datetime.max.replace(tzinfo=UTC),
    ],
)
async def test_a_moment_comes_back_as_the_same_moment_in_utc(database: Database, moment: datetime) -> None:
    async with database.write() as connection:
        await connection.execute(insert(sessions).values(session_row("s1", created_at=moment)))
    async with database.read() as connection:
        found = await connection.scalar(select(sessions.c.created_at))
    assert found == moment
    assert found is not None
    assert found.utcoffset() == timedelta(0)


async def test_moments_sort_as_text(database: Database) -> None:
    moments = [NOON + timedelta(microseconds=step) for step in (0, 1, 999_999, 1_000_000, 90_000_000)]
    async with database.write() as connection:
        await connection.execute(
            insert(sessions), [session_row(f"s{n}", created_at=moment) for n, moment in enumerate(moments)]
        )
    async with database.read() as connection:
        found = (await connection.scalars(select(sessions.c.created_at).order_by(sessions.c.created_at))).all()
    assert found == moments


async def test_a_moment_without_a_zone_is_refused_rather_than_guessed(database: Database) -> None:
    with pytest.raises(StatementError, match="zone"):
        async with database.write() as connection:
            await connection.execute(insert(sessions).values(session_row("s1", created_at=NOON.replace(tzinfo=None))))
