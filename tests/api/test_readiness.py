"""Whether the service can answer, and what it does when it cannot."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.deployment.v1 import WorkerDeploymentOptions, WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueueVersioningInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse

from api.readiness import ReadinessCheck
from tests.api.house import House
from tests.api.talk import CHAT, DIRECT, assert_problem, post
from tests.harness import System, free_port


@pytest.fixture(params=["nobody listens", "nobody answers"])
async def dead_temporal(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """An address where Temporal should be."""
    port = free_port()
    if request.param == "nobody listens":
        yield f"127.0.0.1:{port}"
        return
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", port):
        yield f"127.0.0.1:{port}"
        over.set()


async def test_a_whole_system_is_ready(system: System) -> None:
    response = await system.client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"ready": True, "temporal": "ok", "database": "ok", "worker": "ok"}


async def test_without_a_worker_it_is_not_ready(own_system: System) -> None:
    await own_system.start_api()
    response = await own_system.client.get("/readyz")
    assert (response.status_code, response.json()["ready"]) == (503, False)
    assert "no worker polls the task queue" in response.json()["worker"]
    assert (response.json()["temporal"], response.json()["database"]) == ("ok", "ok")
    assert int(response.headers["retry-after"]) > 0
    assert (await own_system.client.get("/healthz")).json() == {"status": "ok"}


async def test_without_temporal_nothing_hangs(own_system: System, dead_temporal: str) -> None:
    await own_system.start_api(TEMPORAL_ADDRESS=dead_temporal)
    began = time.monotonic()
    ready, interact, direct = await asyncio.gather(
        own_system.client.get("/readyz"),
        own_system.interact(session_id="waiting"),
        post(own_system, CHAT, DIRECT),
    )
    assert time.monotonic() - began < 5
    assert (ready.status_code, ready.json()["temporal"]) == (503, "Temporal does not answer")
    assert ready.json()["database"] == "ok"
    for response in (interact, direct):
        found = assert_problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) > 0
        assert response.headers["x-interaction-id"] == found["interaction_id"]
    began = time.monotonic()
    url = f"/api/llm/interactions/{interact.json()['interaction_id']}"
    view, waited, explained, transcript, usage = await asyncio.gather(
        own_system.client.get(url),
        own_system.client.get(f"{url}?wait=1"),
        own_system.client.get(f"{url}/explain"),
        own_system.client.get("/api/sessions/waiting/messages"),
        own_system.client.get("/api/usage"),
    )
    assert time.monotonic() - began < 5
    assert [response.status_code for response in (view, waited, explained, transcript, usage)] == [200] * 5
    assert view.json()["status"] == waited.json()["status"] == "queued"


SET_CURRENT = "temporal worker deployment set-current-version --deployment-name ours --build-id"


class Told:
    """A Temporal that tells this of its workers, and nothing else."""

    namespace = "default"

    def __init__(self, response: DescribeTaskQueueResponse) -> None:
        self.workflow_service = self
        self._response = response

    async def describe_task_queue(self, *_: Any, **__: Any) -> DescribeTaskQueueResponse:
        return self._response


@dataclass(frozen=True)
class Polling:
    """A worker of a build, or one that has no version."""

    build: str | None
    seconds_ago: float = 1


def _as_told(polling: Polling) -> PollerInfo:
    options = WorkerDeploymentOptions(
        deployment_name="ours",
        build_id=polling.build or "a hash of its code",
        worker_versioning_mode=WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
        if polling.build
        else WorkerVersioningMode.WORKER_VERSIONING_MODE_UNVERSIONED,
    )
    polled = Timestamp()
    polled.FromDatetime(datetime.now(UTC) - timedelta(seconds=polling.seconds_ago))
    return PollerInfo(deployment_options=options, last_access_time=polled)


@pytest.mark.parametrize(
    ("current", "pollers", "told"),
    [
        (None, [Polling(None)], "ok"),
        (None, [Polling(None), Polling("2")], "ok"),
        (None, [Polling("2")], f"no build of deployment 'ours' is current, so nothing would be begun: {SET_CURRENT} 2"),
        (None, [Polling(None, 100), Polling("2")], "no build of deployment 'ours' is current"),
        ("1", [Polling("1"), Polling("2")], "ok"),
        ("1", [Polling("2"), Polling(None)], "build '1' of deployment 'ours' is current, and no worker of it polls: "),
        ("1", [Polling("1", 100), Polling("2")], "build '1' of deployment 'ours' is current, and no worker of it"),
        ("1", [Polling("1", 100)], "no worker polls the task queue 'queue'"),
    ],
)  # fmt: skip
async def test_it_is_ready_where_workers_get_what_is_begun(
    house: House, current: str | None, pollers: list[Polling], told: str
) -> None:
    version = None if current is None else WorkerDeploymentVersion(deployment_name="ours", build_id=current)
    routing = TaskQueueVersioningInfo(current_deployment_version=version)
    client: Any = Told(DescribeTaskQueueResponse(pollers=map(_as_told, pollers), versioning_info=routing))
    found = await ReadinessCheck(client, house.application.database, "queue").check()
    assert found["worker"] == told if told == "ok" else found["worker"].startswith(told)
