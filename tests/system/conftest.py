"""Tests that run beside each other: see `tests.system.beside`."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from standin import StandIn
from tests.harness import System
from tests.system.beside import Body, body_of


@pytest.fixture(scope="module")
async def begun(
    request: pytest.FixtureRequest, temporal: Client, temporal_address: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[Body, asyncio.Task[None]]]:
    """The marked tests of this file that are to be run, as tasks."""

    async def run(body: Body, directory: Path) -> None:
        async with StandIn(pace=getattr(request.module, "PACE", None)) as standin:
            own_system = System(temporal_address, standin, directory)
            try:
                offered = {"own_system": own_system, "temporal": temporal}
                await body(**{name: offered[name] for name in inspect.signature(body).parameters})
            finally:
                await own_system.stop()

    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    bodies = [body_of(test.function) for test in tests if test.module is request.module]
    tasks = {body: asyncio.create_task(run(body, tmp_path_factory.mktemp("own"))) for body in bodies if body}
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
