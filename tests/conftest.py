"""Fixtures for every test: the real Temporal dev server, the stand-in, and our processes."""

import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from core.orchestrator.config import Settings
from embedded.children import Children
from embedded.temporal_server import start_temporal
from standin import StandIn
from tests.harness import FORKS, System, free_port
from tests.postgres import PostgresServer

gc.set_threshold(100_000, 20, 100)  # thousands of tests stay in memory; to walk over them again and again takes a while


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of whole systems first: they take longest, and nobody is to wait for one of them at the end."""
    systems = Path(__file__).with_name("system")
    items.sort(key=lambda item: not item.path.is_relative_to(systems))


@pytest.fixture(scope="session", autouse=True)
async def forks() -> AsyncIterator[None]:
    """What workers and APIs are forks of ends with the test run."""
    yield
    await FORKS.end()


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    """A PostgreSQL server for the whole test run; a test that stops it starts it again."""
    server = PostgresServer()
    try:
        await server.start()
        yield server
    finally:
        await server.end()


@pytest.fixture(scope="session")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A Temporal dev server as `orchestrator up` runs it, for the whole test run."""
    directory = tmp_path_factory.mktemp("temporal")
    settings = Settings(_env_file=None, DATA_DIR=directory, TEMPORAL_PORT=free_port(), TEMPORAL_UI_PORT=free_port())
    children = Children(directory)
    children.take_over()
    try:
        yield await start_temporal(settings, children)
    finally:
        await children.stop()


@pytest.fixture(scope="session")
async def temporal_address(temporal: Client) -> str:
    return temporal.service_client.config.target_host


@pytest.fixture(scope="session")
async def shared_standin() -> AsyncIterator[StandIn]:
    async with StandIn() as standin:
        yield standin


@pytest.fixture(scope="session")
async def shared_system(
    temporal_address: str, shared_standin: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    """One API and one worker that tests share if they leave them running; no test's failures cool another's models."""
    directory = tmp_path_factory.mktemp("system")
    system = System(temporal_address, shared_standin, directory, LLM_COOLDOWN_AFTER_FAILURES="0")
    try:
        await system.start()
        yield system
    finally:
        await system.stop()


@pytest.fixture
def system(shared_system: System) -> System:
    """The shared system, with a stand-in that has forgotten the test before."""
    shared_system.standin.reset()
    return shared_system


@pytest.fixture
async def own_system(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system of the test's own, nothing started yet: for tests that kill."""
    async with StandIn() as standin:
        system = System(temporal_address, standin, tmp_path_factory.mktemp("own"))
        try:
            yield system
        finally:
            await system.stop()
