"""What is left of erased rows in a PostgreSQL database goes behind the back of whoever erases."""

import asyncio

import asyncpg
from sqlalchemy import delete, insert, select

from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.storage.database import Database
from core.orchestrator.storage.postgresql_vacuuming import Vacuuming
from core.orchestrator.storage.tables import catalogues
from tests.core.orchestrator.domain import NOON
from tests.core.orchestrator.vendors import only_postgresql
from tests.postgres import PostgresServer

pytestmark = only_postgresql
SIZES = "SELECT pg_relation_size('catalogues') AS size"


async def test_the_space_of_what_was_deleted_is_given_back(
    database: Database, postgres: PostgresServer, place: str
) -> None:
    async with database.write() as connection:
        rows = [{"provider": f"p{n}", "fetched_at": NOON, "models": "x" * 500} for n in range(100)]
        await connection.execute(insert(catalogues), rows)
    async with database.write() as connection:
        await connection.execute(delete(catalogues))
    assert (await postgres.rows(SIZES, place))[0]["size"] > 0
    vacuuming = Vacuuming(lambda: asyncpg.connect(place), delay=0)
    vacuuming.begin()
    for _ in range(500):  # it can only be looked for
        left = (await postgres.rows(SIZES, place))[0]["size"]
        if not left:
            break
        await asyncio.sleep(0.02)
    assert left == 0
    await vacuuming.close()


async def test_a_database_that_is_away_fails_nobody_who_erases(database: Database) -> None:
    tried = asyncio.Event()

    async def fail() -> asyncpg.Connection:
        tried.set()
        raise StorageUnavailableError

    vacuuming = Vacuuming(fail, delay=0)
    vacuuming.begin()
    await tried.wait()
    await vacuuming.close()
    await database.purge()
    async with database.read() as connection:
        assert await connection.scalar(select(1)) == 1
