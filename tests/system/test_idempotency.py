"""One key, one reply: however often it is sent, and whoever dies meanwhile."""

import asyncio
import sqlite3
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from tests.api.talk import CHAT, DIRECT, assert_problem
from tests.harness import System
from tests.system.stories import held, interaction_of, read, roles, transcript
from tests.system.streams import INTERACT, events_in, opened, reduced

MODEL = "test/model"
HELD = {"hold": True}
BODY = {"message": "Hello", "user_id": "user123"}


async def send(system: System, key: str, path: str = INTERACT, **fields: Any) -> httpx.Response:
    body = (BODY if path == INTERACT else {"messages": CHAT}) | fields
    return await system.client.post(path, json=body, headers={"Idempotency-Key": key})


@pytest.mark.parametrize("path", [INTERACT, DIRECT])
async def test_a_request_sent_again_gets_the_reply_that_there_is(system: System, path: str) -> None:
    first = await send(system, f"again {path}", path)
    again = await send(system, f"again {path}", path)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert len(system.standin.ledger.calls) == 1


async def test_the_order_of_fields_makes_no_other_request(system: System) -> None:
    headers = {"Idempotency-Key": "order", "Content-Type": "application/json"}
    one = '{"message": "Hello", "user_id": "user123", "context": {"a": 1, "b": 2}, "temperature": 1}'
    same = '{"temperature": 1.0, "context": {"b": 2, "a": 1}, "user_id": "user123", "message": "Hello"}'
    first, second = [await system.client.post(INTERACT, content=body, headers=headers) for body in (one, same)]
    assert first.json()["interaction_id"] == second.json()["interaction_id"]


async def test_a_key_belongs_to_one_request(system: System) -> None:
    await send(system, "one request")
    for fields in ({"message": "Hello!"}, {"temperature": 0.7}, {"session_id": "s"}, {"context": {"a": 1}}):
        found = assert_problem_without_fields(await send(system, "one request", **fields))
        assert found["detail"] == "the idempotency key came with another body; every field of it counts"
    assert_problem_without_fields(await send(system, "one request", DIRECT, user_id="user123"))
    assert len(system.standin.ledger.calls) == 1


async def test_the_query_beside_bare_messages_belongs_to_the_request(system: System) -> None:
    async def ask(query: str) -> httpx.Response:
        return await system.client.post(f"{DIRECT}?{query}", json=CHAT, headers={"Idempotency-Key": "query"})

    first = await ask("model=a/b&user_id=ada")
    assert first.json() == (await ask("user_id=ada&model=a/b")).json()
    assert_problem_without_fields(await ask("user_id=ada&model=a/c"))


async def test_a_key_is_a_users_own(system: System) -> None:
    ada, bob = [await send(system, "everybodys", user_id=user) for user in ("ada", "bob")]
    assert ada.json()["interaction_id"] != bob.json()["interaction_id"]


async def test_a_failure_is_replayed_as_one(system: System) -> None:
    fields = {"model": "standin/unauthorized", "on_failure": "error"}
    first, again = await send(system, "failure", **fields), await send(system, "failure", **fields)
    assert_problem(again, 502, "authentication")
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len(system.standin.ledger.calls) == 1


async def test_a_stream_sent_again_is_attached_to_the_interaction(system: System) -> None:
    system.standin.script(MODEL, HELD)
    body = BODY | {"stream": True, "model": MODEL, "session_id": "attached"}
    headers = {"Idempotency-Key": "attached"}
    async with opened(system, "POST", INTERACT, json=body, headers=headers) as first:
        await held(system)
        async with opened(system, "POST", INTERACT, json=body, headers=headers) as again:
            assert again.headers["idempotency-replayed"] == "true"
            system.standin.release()
            told = [[event async for event in events_in(response)] for response in (first, again)]
    assert told[0] == told[1]
    assert reduced(told[0]).text == told[0][-1]["response"]["message"]
    assert roles(await transcript(system, "attached")) == ["user", "assistant"]


async def test_in_the_background_a_repetition_tells_how_far_it_is(system: System) -> None:
    system.standin.script(MODEL, HELD)
    fields = {"background": True, "model": MODEL}
    first = (await send(system, "background", **fields)).json()
    await held(system)
    again = await send(system, "background", **fields)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json() == first | {"status": "in_progress"}
    system.standin.release()
    await read(system, first["interaction_id"], wait=30)
    assert (await send(system, "background", **fields)).json() == first | {"status": "completed"}


async def test_fifty_at_once_with_the_api_killed_among_them_are_one(own_system: System, temporal: Client) -> None:
    own_system.standin.script(MODEL, HELD)
    await own_system.start_worker()
    api = await own_system.start_api()
    restarted = asyncio.Event()
    body = BODY | {"session_id": "fifty", "model": MODEL, "fallback_models": []}

    async def insist(number: int) -> httpx.Response:
        while True:
            with suppress(httpx.TransportError):
                response = await crowd.post(INTERACT, json=body, headers={"Idempotency-Key": "fifty"})
                if response.status_code != 503:
                    return response
            await restarted.wait()

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=own_system.url, timeout=60, limits=limits) as crowd:
        requests = [asyncio.create_task(insist(number)) for number in range(50)]
        await held(own_system)
        await api.kill()
        await own_system.start_api()
        restarted.set()
        interaction_id = await interaction_of(own_system, "fifty")
        own_system.standin.release()
        responses = await asyncio.gather(*requests)

    assert {response.status_code for response in responses} == {200}
    assert {response.json()["interaction_id"] for response in responses} == {interaction_id}
    assert len({response.text for response in responses}) == 1
    assert roles(await transcript(own_system, "fifty")) == ["user", "assistant"]
    assert len(own_system.standin.ledger.calls) == 1
    assert _count(own_system, "interactions") == 1
    run = await temporal.get_workflow_handle(f"interaction-{interaction_id}").describe()
    assert run.raw_description.workflow_execution_info.first_run_id == run.run_id


async def test_a_key_whose_start_was_never_recorded_starts_it_when_it_is_sent_again(own_system: System) -> None:
    await own_system.start_worker()
    unreachable = await own_system.start_api(TEMPORAL_ADDRESS="127.0.0.1:1")
    unheard = await send(own_system, "unheard", session_id="unheard")
    assert unheard.status_code == 503
    interaction_id = unheard.json()["interaction_id"]
    await unreachable.kill()
    await own_system.start_api()
    heard = await send(own_system, "unheard", session_id="unheard")
    assert (heard.status_code, heard.json()["interaction_id"]) == (200, interaction_id)
    assert heard.headers["idempotency-replayed"] == "true"
    assert roles(await transcript(own_system, "unheard")) == ["user", "assistant"]


def assert_problem_without_fields(response: httpx.Response) -> dict[str, Any]:
    """The key is at fault, no field is."""
    found: dict[str, Any] = response.json()
    assert (response.status_code, found["error_type"]) == (422, "idempotency_conflict"), response.text
    assert "errors" not in found
    return found


def _count(system: System, table: str) -> int:
    with closing(
        sqlite3.connect(f"file:{system.directory / 'data' / 'orchestrator.db'}?mode=ro", uri=True)
    ) as database:
        count: int = database.execute(f"select count(*) from {table}").fetchone()[0]
    return count
