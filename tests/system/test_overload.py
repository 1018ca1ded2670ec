"""Five hundred requests at once where fifty may be open: each is accepted and answered, or refused, and none hangs."""

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest
from httpx_aiohttp import AiohttpTransport

from standin import StandIn
from tests.harness import Process, System
from tests.system.stories import HELD, Json, eventually

LIMIT = 50
MANY = 500
MODEL = "openai/gpt-4"
_MEGABYTE = 1024 * 1024


@pytest.fixture
async def narrow(own_system: System) -> tuple[System, Process]:
    """A service that takes no more than LIMIT at a time."""
    _, api = await own_system.start(OPEN_INTERACTIONS_LIMIT=str(LIMIT))
    return own_system, api


def memory_of(process: Process) -> int:
    """Return how many bytes of memory a process has."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    [resident] = [line for line in lines if line.startswith("VmRSS:")]
    return int(resident.split()[1]) * 1024


def body(number: int) -> Json:
    """Return one of the requests: some wait, some stream, each of a user and session of its own."""
    return {
        "message": f"message {number}",
        "user_id": f"user {number}",
        "session_id": f"session {number}",
        "model": MODEL,
        "stream": number % 5 == 0,
    }


async def test_a_burst_beyond_the_limit_is_refused_at_once_and_loses_no_reply(narrow: tuple[System, Process]) -> None:
    system, api = narrow
    standin: StandIn = system.standin
    standin.script(MODEL, *[HELD] * LIMIT)
    await system.interact("warm")
    before = memory_of(api)
    refused_after: list[float] = []
    began = time.monotonic()

    # httpx's own pool would take longer than the service.
    transport = AiohttpTransport(limits=httpx.Limits(max_connections=MANY))
    async with httpx.AsyncClient(base_url=system.url, timeout=60, transport=transport) as client:

        async def ask(number: int) -> httpx.Response:
            response = await client.post("/api/llm/interact", json=body(number))
            if response.status_code == 503:
                refused_after.append(time.monotonic() - began)
            return response

        asked = [asyncio.create_task(ask(number)) for number in range(MANY)]

        async def decided() -> bool:
            return len(refused_after) + sum(call.held for call in standin.ledger.calls) == MANY

        await eventually(decided)
        assert max(refused_after) < 15, "refused late"
        assert memory_of(api) - before < 200 * _MEGABYTE
        standin.release()
        responses = await asyncio.gather(*asked)

    answered = [number for number, response in enumerate(responses) if response.status_code == 200]
    # A machine that is busy with other things may find that it cannot even look at all of them.
    assert LIMIT // 2 <= len(answered) <= LIMIT
    for number in answered:
        assert f'You said: "message {number}"' in reply_of(responses[number])
    assert len(standin.ledger.calls) == len(answered) + 1, "one call for each reply"
    for response in responses:
        if response.status_code != 200:
            assert (response.status_code, response.json()["error_type"]) == (503, "overloaded")
            assert 1 <= int(response.headers["retry-after"]) <= 5
    assert (await system.interact("There is room again")).status_code == 200


def reply_of(response: httpx.Response) -> str:
    """Return the text of an answer, whether it came as a whole or as a stream."""
    answer = response.json() if response.headers["content-type"] == "application/json" else last_event(response)
    return str(answer["message"])


def last_event(response: httpx.Response) -> Json:
    """Return the response that ends a stream."""
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    [ended] = [event["response"] for event in events if "response" in event]
    found: Json = ended
    return found
