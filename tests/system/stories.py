"""What the tests of whole processes have in common: looking at an interaction from outside, and waiting for it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.harness import Process, System

HELD = {"hold": True}
SHORT_HEARTBEAT = {"HEARTBEAT_TIMEOUT_SECONDS": "2"}
"""A lost worker is noticed soon: for tests about what happens, not about when."""
NO_ANSWER_WITHIN = 60
PLUGINS = "tests.system.plugins"

Json = dict[str, Any]


async def eventually(look: Callable[[], Awaitable[object]], seconds: float = 30) -> None:
    """Return when what another process shows is as wanted: it can only be looked at again and again."""
    deadline = time.monotonic() + seconds
    while not await look():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        await asyncio.sleep(0.02)


async def transcript(system: System, session_id: str) -> list[Json]:
    """The messages of a session, as the API tells them."""
    response = await system.client.get(f"/api/sessions/{session_id}/messages", params={"limit": 200})
    if response.status_code == 404:
        return []
    assert response.status_code == 200, response.text
    items: list[Json] = response.json()["items"]
    return items


async def read(system: System, interaction_id: str, wait: float = 0) -> Json:
    """The interaction as a resource."""
    response = await system.client.get(f"/api/llm/interactions/{interaction_id}", params={"wait": wait})
    assert response.status_code == 200, response.text
    view: Json = response.json()
    return view


async def explain(system: System, interaction_id: str) -> Json:
    """Why it came out as it did."""
    response = await system.client.get(f"/api/llm/interactions/{interaction_id}/explain")
    assert response.status_code == 200, response.text
    explanation: Json = response.json()
    return explanation


async def interaction_of(system: System, session_id: str) -> str:
    """The id of the latest interaction of a session, which may still run."""
    interaction_id: str = (await transcript(system, session_id))[-1]["interaction_id"]
    return interaction_id


def roles(messages: Iterable[Json]) -> list[str]:
    return [message["role"] for message in messages]


def outcomes(view: Json) -> list[str]:
    """How each attempt ended."""
    return [attempt["error_type"] or attempt["status"] for attempt in view["attempts"]]


def apart_from_costs(view: Json) -> Json:
    """An interaction without what is looked up after its end."""
    attempts = [{name: value for name, value in one.items() if name != "usage"} for one in view["attempts"]]
    return {**view, "usage": None, "attempts": attempts}


@asynccontextmanager
async def sending(system: System, message: str = "Hello", **fields: Any) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """Send a message and go on; the request ends with the block."""
    task = asyncio.create_task(system.interact(message, **fields))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def held(system: System, count: int = 1) -> None:
    """Return when that many calls are held by the stand-in."""
    async with asyncio.timeout(NO_ANSWER_WITHIN):
        await system.standin.ledger.until_held(count)


async def answered(task: asyncio.Task[httpx.Response]) -> Json:
    """The reply to a message that is on its way."""
    response = await asyncio.wait_for(task, NO_ANSWER_WITHIN)
    assert response.status_code == 200, response.text
    view: Json = response.json()
    return view


def worker_calling(workers: Iterable[Process], interaction_id: str) -> Process:
    """The worker that called a model last for an interaction, as its own log says."""
    return max(workers, key=lambda worker: _last_attempt(worker.output, interaction_id))


def _last_attempt(log: str, interaction_id: str) -> int:
    records = (json.loads(line) for line in log.splitlines() if "attempt.started" in line)
    return max(
        (record["attempt"] for record in records if record["interaction_id"] == interaction_id),
        default=0,
    )
