"""The telemetry of one process, begun before its clients and ended after them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.orchestrator.application import Application
from temporal.metrics import sdk_measured
from temporal.tracing import traces_sent


@asynccontextmanager
async def telemetry(application: Application) -> AsyncIterator[None]:
    """Measure the Temporal SDK, and send traces where they are wanted, during the block."""
    async with traces_sent(), sdk_measured(application.metrics):
        yield
