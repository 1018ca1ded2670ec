"""A real database for every test that wants one, migrated once and copied."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.conversations import Conversations
from core.orchestrator.storage.database import Database, open_database


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


@pytest.fixture
async def database(database_path: Path) -> AsyncIterator[Database]:
    database = open_database(database_path)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> InteractionStore:
    return InteractionStore(database)


@pytest.fixture
def ledger(database: Database) -> AttemptLedger:
    return AttemptLedger(database)


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)
