"""A real database for every test that wants one: a SQLite file, migrated once and copied, and one of a server."""

import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.conversations import Conversations
from core.orchestrator.storage.database import Database, open_database
from core.orchestrator.storage.postgresql import Postgresql
from tests.postgres import CLEAR, PostgresServer


@pytest.fixture(scope="session")
async def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "orchestrator.db"
    database = open_database(path)
    await database.migrate()
    await database.close()
    return path


@pytest.fixture
def database_path(migrated_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "orchestrator.db"
    shutil.copy(migrated_file, path)
    return path


@pytest.fixture(scope="session")
async def shared_postgres_url(postgres: PostgresServer) -> str:
    return await postgres.migrated()


@pytest.fixture(scope="session")
async def shared_postgres(shared_postgres_url: str) -> AsyncIterator[Postgresql]:
    """What tests that have nothing to do with connections share: to open them costs more than most tests."""
    vendor = Postgresql(shared_postgres_url, 16, timedelta(seconds=5))
    yield vendor
    await vendor.close()


@pytest.fixture
async def postgres_url(shared_postgres: Postgresql, shared_postgres_url: str) -> AsyncIterator[str]:
    """The address of an empty database with our tables; tests have it one after the other."""
    yield shared_postgres_url
    async with shared_postgres.writing() as connection:
        raw = await connection.get_raw_connection()
        await raw.driver_connection.execute(CLEAR)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Path | str:
    """Where the test's database is, on either vendor."""
    where: Path | str = request.getfixturevalue(
        {"sqlite": "database_path", "postgresql": "postgres_url"}[request.param]
    )
    return where


@pytest.fixture
def database_to_close(place: Path | str, request: pytest.FixtureRequest) -> Database:
    return open_database(place) if isinstance(place, Path) else Database(request.getfixturevalue("shared_postgres"))


@pytest.fixture
async def database(place: Path | str, database_to_close: Database) -> AsyncIterator[Database]:
    yield database_to_close
    await (database_to_close.close() if isinstance(place, Path) else database_to_close.changes.close())


@pytest.fixture
def store(database: Database) -> InteractionStore:
    return InteractionStore(database)


@pytest.fixture
def ledger(database: Database) -> AttemptLedger:
    return AttemptLedger(database)


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)
