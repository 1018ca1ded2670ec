"""Whether the service can answer, and what it does when it cannot."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

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
