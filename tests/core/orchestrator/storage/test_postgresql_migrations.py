"""The schema of a PostgreSQL database: the same tables, brought up to date when asked to, and checked by everybody."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, text

from core.orchestrator.contracts import InteractionStatus
from core.orchestrator.errors import ConfigurationError, StorageUnavailableError
from core.orchestrator.interactions.store import Ending, InteractionStore
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.storage.tables import metadata, reply_events
from tests.core.orchestrator.domain import opened_watched, request
from tests.core.orchestrator.storage.test_migrations import MOMENT, SECOND, Rows, bring_to, holds
from tests.postgres import PostgresServer

THIRD: Rows = SECOND | {
    "reply_events": [{"interaction_id": "i1", "sequence": 3, "type": "interaction.completed", "data": "{}"}],
    "erased_interactions": [{"interaction_id": "gone", "erased_at": MOMENT}],
}
FLAGS = ("degraded", "in_memory", "billable")


@pytest.fixture
async def url(postgres: PostgresServer) -> str:
    return await postgres.empty()


@pytest.fixture
async def empty(url: str) -> AsyncIterator[Database]:
    database = open_database(url)
    yield database
    await database.close()


async def fill(database: Database, rows: Rows) -> None:
    async with database.write() as connection:
        for table, entries in rows.items():
            for entry in entries:
                values = {name: bool(value) if name in FLAGS else value for name, value in entry.items()}
                written = ", ".join("NULL" if v is None else f"'{v}'" for v in values.values())
                await connection.execute(text(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({written})"))


async def read(postgres: PostgresServer, url: str) -> Rows:
    found = {}
    for name, table in metadata.tables.items():
        order = ", ".join(column.name for column in table.primary_key)
        found[name] = await postgres.rows(f"SELECT * FROM {name} ORDER BY {order}", url)
    return found


async def schema(postgres: PostgresServer, url: str) -> list[dict[str, Any]]:
    columns = (
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, collation_name "
        "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    sequences = "SELECT sequencename, data_type::text FROM pg_sequences"
    return [row for query in (columns, indexes, sequences) for row in await postgres.rows(query, url)]


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_the_migrations_lead_to_the_tables_in_the_code(empty: Database) -> None:
    migration = await empty.migrate()
    assert migration.before is None
    async with empty.read() as connection:
        assert await connection.run_sync(differences) == []
    await empty.prepare()


async def test_names_are_compared_by_their_bytes(empty: Database, postgres: PostgresServer, url: str) -> None:
    await empty.migrate()
    wrong = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type IN ('text', 'character varying') AND collation_name IS DISTINCT FROM 'C' "
        "AND table_name <> 'alembic_version'"
    )
    named = {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.c
        if getattr(column.type.dialect_impl(empty._vendor.engine.dialect), "collation", None) == "C"
    }
    assert named
    assert not named & {(row["table_name"], row["column_name"]) for row in await postgres.rows(wrong, url)}


async def test_a_database_of_the_third_version_keeps_its_rows_and_takes_new_ones(
    empty: Database, postgres: PostgresServer, url: str
) -> None:
    await bring_to(empty, "0003")
    before = await schema(postgres, url)
    rows = {name: [{k: v for k, v in row.items() if k not in FLAGS} for row in some] for name, some in THIRD.items()}
    await fill(empty, THIRD)
    await empty.migrate()
    assert holds(await read(postgres, url), rows)
    store = InteractionStore(empty)
    assert (await store.view("i1")).message == "Hi"
    third = await opened_watched(store, session_id="s1")
    assert (await store.end(third, Ending(InteractionStatus.COMPLETED, reply="Hi"))).first
    async with empty.write() as connection:  # there are more positions than 32 bits have
        await connection.execute(text("SELECT setval('reply_events_position_seq', 3000000000)"))
        row = {"interaction_id": third, "sequence": 99, "type": "text.delta", "data": {}}
        await connection.execute(insert(reply_events).values(row))
        await connection.execute(text("DELETE FROM reply_events WHERE sequence = 99"))
        await connection.execute(text("SELECT setval('reply_events_position_seq', 1000)"))
    await bring_to(empty, "-0003")
    assert await schema(postgres, url) == before
    await empty.migrate()
    assert len((await read(postgres, url))["interactions"]) == 3


async def test_who_migrates_is_told_what_was_done_and_several_at_once_do_it_once(empty: Database, url: str) -> None:
    others = [open_database(url) for _ in range(4)]
    done = await asyncio.gather(*(one.migrate() for one in (empty, *others)))
    assert sorted(one.before or "" for one in done) == ["", *[done[0].after] * 4]
    for one in others:
        await one.close()


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(
    empty: Database, postgres: PostgresServer, url: str
) -> None:
    await postgres.execute("CREATE TABLE catalogues (mine TEXT)", url=url)
    with pytest.raises(StorageUnavailableError):
        await empty.migrate()
    left = await postgres.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", url)
    assert [row["tablename"] for row in left] == ["catalogues"]


@pytest.mark.parametrize(
    ("revision", "complaint"),
    [
        (None, "has no schema, this version needs 0.*: run `orchestrator migrate`"),
        ("0003", "schema is at 0003, this version needs 0.*: run `orchestrator migrate`"),
        ("9999", "later version.*9999"),
    ],
)
async def test_a_process_does_not_start_on_another_schema(
    empty: Database, postgres: PostgresServer, url: str, revision: str | None, complaint: str
) -> None:
    if revision is not None:
        await empty.migrate()
        await postgres.execute(f"UPDATE alembic_version SET version_num = '{revision}'", url=url)
    with pytest.raises(ConfigurationError, match=complaint) as raised:
        await empty.prepare()
    assert "\n" not in str(raised.value)
    if revision == "9999":
        with pytest.raises(ConfigurationError, match=complaint):
            await empty.migrate()


async def test_what_runs_alone_migrates_by_itself(empty: Database) -> None:
    await empty.prepare(alone=True)
    await InteractionStore(empty).open_turn(request())


async def test_a_migration_waits_for_whoever_is_at_the_tables(url: str) -> None:
    database, other = open_database(url, wait=timedelta(milliseconds=300)), open_database(url)
    await bring_to(database, "0003")
    async with other.write() as connection:
        await connection.execute(text("LOCK TABLE interactions"))
        migrating = asyncio.create_task(database.migrate())
        await asyncio.sleep(0.6)  # twice as long as a write would wait
        assert not migrating.done()
    assert (await migrating).before == "0003"
    await database.close()
    await other.close()
