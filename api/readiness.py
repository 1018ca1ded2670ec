"""What an interaction needs, asked for one by one, each with a limit of its own."""

import asyncio
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.storage.database import Database

_TIMEOUT = timedelta(seconds=2)
_POLLED_WITHIN = timedelta(seconds=90)
"""A worker's poll is open for up to a minute; Temporal tells when it began."""


class ReadinessCheck:
    """Checks Temporal, the database and the workers."""

    def __init__(self, client: Client, database: Database, task_queue: str) -> None:
        """Check the workers of `task_queue`."""
        self._client = client
        self._database = database
        self._task_queue = task_queue

    async def check(self) -> dict[str, str]:
        """Return `ok` or the reason, for `temporal`, `database` and `worker`."""
        database, (temporal, worker) = await asyncio.gather(self._check_database(), self._check_temporal())
        return {"temporal": temporal, "database": database, "worker": worker}

    async def _check_database(self) -> str:
        try:
            async with asyncio.timeout(_TIMEOUT.total_seconds()):
                await self._database.ping()
        except (StorageUnavailableError, TimeoutError):
            return "the database does not answer"
        return "ok"

    async def _check_temporal(self) -> tuple[str, str]:
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=self._task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        try:
            async with asyncio.timeout(_TIMEOUT.total_seconds()):
                found = await self._client.workflow_service.describe_task_queue(request, timeout=_TIMEOUT)
        except (RPCError, RuntimeError, TimeoutError):
            return "Temporal does not answer", "unknown, as Temporal does not answer"
        now = datetime.now(UTC)
        polls = [poller.last_access_time.ToDatetime(tzinfo=UTC) for poller in found.pollers]
        if any(now - polled < _POLLED_WITHIN for polled in polls):
            return "ok", "ok"
        return "ok", f"no worker polls the task queue '{self._task_queue}'"
