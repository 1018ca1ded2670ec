"""What an interaction needs, asked for one by one, each with a limit of its own."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
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
        polling = [
            poller for poller in found.pollers if now - poller.last_access_time.ToDatetime(tzinfo=UTC) < _POLLED_WITHIN
        ]
        if not polling:
            return "ok", f"no worker polls the task queue '{self._task_queue}'"
        versions = found.versioning_info
        current = versions.current_deployment_version if versions.HasField("current_deployment_version") else None
        return "ok", _reached(polling, current)


def _reached(polling: Sequence[PollerInfo], current: WorkerDeploymentVersion | None) -> str:
    """Return `ok`, or why Temporal gives what is begun now to none of the workers that poll.

    It gives it to workers of the current version, and where no version is current to those that have none.
    """
    if current is not None:
        if any(_is_of(poller, current) for poller in polling):
            return "ok"
        return (
            f"build '{current.build_id}' of deployment '{current.deployment_name}' is current, and no worker of it "
            f"polls: start one, or make another build current: {_set_current(current.deployment_name, 'BUILD_ID')}"
        )
    versioned = [poller.deployment_options for poller in polling if _has_version(poller)]
    if len(versioned) < len(polling):
        return "ok"
    latest = versioned[0]
    return (
        f"no build of deployment '{latest.deployment_name}' is current, so nothing would be begun: "
        f"{_set_current(latest.deployment_name, latest.build_id)}"
    )


def _has_version(poller: PollerInfo) -> bool:
    return poller.deployment_options.worker_versioning_mode == WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED


def _is_of(poller: PollerInfo, version: WorkerDeploymentVersion) -> bool:
    options = poller.deployment_options
    return _has_version(poller) and (options.deployment_name, options.build_id) == (
        version.deployment_name,
        version.build_id,
    )


def _set_current(deployment: str, build: str) -> str:
    return f"temporal worker deployment set-current-version --deployment-name {deployment} --build-id {build}"
