"""`orchestrator migrate` and `setup`: what a fresh database and a fresh Temporal cluster need."""

import asyncio
from datetime import timedelta

from rich.console import Console

from core.orchestrator.config import Settings, load_settings
from core.orchestrator.storage.address import name_of
from core.orchestrator.storage.database import open_database
from temporal.client import connect
from temporal.setup import make_namespace, prepare_namespace


def migrate() -> None:
    """Bring the database's schema up to date. Safe to repeat, and for several at once."""
    asyncio.run(_migrate(load_settings(), Console()))


def setup() -> None:
    """Prepare a fresh Temporal cluster and database: namespace, search attributes, schema. Safe to repeat."""
    asyncio.run(_setup(load_settings(), Console()))


async def _migrate(settings: Settings, out: Console) -> None:
    database = open_database(settings.database)
    try:
        migration = await database.migrate()
    finally:
        await database.close()
    out.print(f"database {name_of(settings.database)}: {migration}", soft_wrap=True, markup=False, highlight=False)


async def _setup(settings: Settings, out: Console) -> None:
    await _migrate(settings, out)
    client = await connect(settings)
    retention = timedelta(days=settings.HISTORY_RETENTION_DAYS)
    changes = [*await make_namespace(client, retention), *await prepare_namespace(client, retention)]
    for change in changes or ["nothing to change"]:
        out.print(f"namespace {client.namespace}: {change}")
