"""What every refusal has in common: nothing is stored, and no workflow is started."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from tests.api.house import House, house_in
from tests.api.keyed import KEY_SETTING, Keyed, KeyedApi, keyed_in
from tests.harness import ORCHESTRATOR, Process, System, free_port


def _database(system: System) -> Path:
    return system.directory / "data" / "orchestrator.db"


def _rows(system: System) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{_database(system)}?mode=ro", uri=True)) as connection:
        return {
            table: connection.execute(f"select count(*) from {table}").fetchone()[0]
            for table in ("sessions", "interactions", "messages", "prompts")
        }


def _workflow_ids(system: System) -> set[str]:
    with closing(sqlite3.connect(f"file:{_database(system)}?mode=ro", uri=True)) as connection:
        # Temporal removes the runs of erased interactions some seconds later.
        query = "select interaction_id from interactions union select interaction_id from erased_interactions"
        ids = [row[0] for row in connection.execute(query)]
        return {f"{kind}-{interaction_id}" for interaction_id in ids for kind in ("interaction", "reconcile")}


@pytest.fixture
def nothing_stored(system: System) -> Iterator[None]:
    """The test stores nothing."""
    before = _rows(system)
    yield
    assert _rows(system) == before


@pytest.fixture(scope="module")
async def no_stray_workflow(shared_system: System, temporal: Client) -> AsyncIterator[None]:
    """The module's tests start no workflow that the store knows nothing of."""
    yield
    # Temporal's list of workflows lags behind; once the last one started is in it, so are all before it.
    last = (await shared_system.interact("The last one")).json()["workflow_id"]
    listed: set[str] = set()
    query = f"TaskQueue = '{shared_system.environment['TASK_QUEUE']}'"
    async with asyncio.timeout(20):
        while last not in listed:
            listed = {found.id async for found in temporal.list_workflows(query)}
    assert listed <= _workflow_ids(shared_system)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """The service in this process, on a database of its own."""
    async with house_in(tmp_path) as house:
        yield house


@pytest.fixture(scope="module")
async def keyed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keyed]:
    """The API in this process, with keys."""
    async with keyed_in(tmp_path_factory.mktemp("keyed")) as keyed:
        yield keyed


@pytest.fixture(scope="module")
async def keyed_api(shared_system: System, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KeyedApi]:
    """Another API process of the shared system, which asks for keys; its worker is the shared one."""
    port = free_port()
    environment = {**shared_system.environment, **KEY_SETTING, "API_PORT": str(port), "LOG_LEVEL": "debug"}
    log = tmp_path_factory.mktemp("keyed-api") / "log"
    process = await Process.fork([ORCHESTRATOR, "api"], log, environment)
    await process.until_output("API at")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield KeyedApi(process, client)
    await process.kill()
