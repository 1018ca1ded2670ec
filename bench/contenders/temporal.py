"""A Temporal dev server of a contender's own, and a worker beside its API, set up as the service's."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.contenders.serving import HOST, Options
from core.orchestrator.config import Settings
from embedded.children import Children
from embedded.temporal_server import start_temporal

TASK_QUEUE = "bench"
_CALLS = 500
_WORKFLOW_TASKS = 100
_CACHED_RUNS = 600
_PAUSE_SECONDS = 0.1


@asynccontextmanager
async def connected(options: Options) -> AsyncIterator[Client]:
    """Run a dev server during the block, and yield a client of it."""
    children = Children(options.directory)
    try:
        if options.default_flags:
            await children.start("temporal", _plain_command(options))
        else:
            settings = Settings(
                _env_file=None,
                DATA_DIR=options.directory,
                TEMPORAL_PORT=options.temporal_port,
                TEMPORAL_UI_PORT=options.ui_port,
            )
            await start_temporal(settings, children)
        yield await _client(f"{HOST}:{options.temporal_port}", children)
    finally:
        await children.stop()


def worker(client: Client, workflow: type, activities: Sequence[Callable[..., Any]]) -> Worker:
    """Return a worker with as much room as the service's; steps are begun without a detour through the server."""
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[workflow],
        activities=activities,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=_CALLS,
        max_concurrent_workflow_tasks=_WORKFLOW_TASKS,
        max_cached_workflows=_CACHED_RUNS,
    )


def _plain_command(options: Options) -> list[str]:
    where = ["--ip", HOST, "--port", str(options.temporal_port), "--ui-port", str(options.ui_port)]
    where += ["--db-filename", str(options.directory / "temporal.db")]
    return [str(Path(sys.executable).with_name("temporal")), "server", "start-dev", *where, "--log-level", "warn"]


async def _client(address: str, children: Children) -> Client:
    while True:
        children.check()
        try:
            return await Client.connect(address)
        except RuntimeError:  # it is not up yet
            await asyncio.sleep(_PAUSE_SECONDS)
