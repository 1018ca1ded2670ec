"""Cancelled by request, by a client that leaves, or by a message that will not wait: the session goes on."""

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from standin import Call, Outcome
from tests.api.talk import CHAT, DIRECT, assert_problem
from tests.harness import System, closed_run
from tests.system.stories import HELD, Json, eventually, held, interaction_of, outcomes, read, sending, transcript
from tests.system.streams import INTERACT, events_in, everything, kinds, opened, reduced, sent

MODEL = "test/model"
GOOD = "openai/gpt-4"
BEGUN = {"hold": True, "after": 3}


async def cancel(system: System, interaction_id: str) -> Json:
    response = await system.client.post(f"/api/llm/interactions/{interaction_id}/cancel")
    assert response.status_code == 200, response.text
    assert response.headers["x-interaction-id"] == interaction_id
    view: Json = response.json()
    return view


async def aborted(system: System, call: Call) -> None:
    await system.standin.ledger.until(lambda _: call.outcome is not None)
    assert call.outcome is Outcome.ABORTED


async def test_a_reply_can_be_cancelled_as_often_as_one_likes(system: System) -> None:
    system.standin.script(MODEL, BEGUN)
    async with sent(system, "Hello", session_id="stop", model=MODEL) as response:
        interaction_id = response.headers["x-interaction-id"]
        stream = events_in(response)
        events = [await anext(stream)]
        while events[-1]["type"] != "text.delta":
            events.append(await anext(stream))
        asked_at = time.monotonic()
        views = await asyncio.gather(*[cancel(system, interaction_id) for _ in range(3)])
        await aborted(system, system.standin.ledger.calls[0])
        assert time.monotonic() - asked_at < 2
        events += [event async for event in stream]
    stored = await read(system, interaction_id)
    assert views == [stored] * 3
    assert (stored["status"], stored["error"]["type"], outcomes(stored)) == ("cancelled", "cancelled", ["cancelled"])
    assert stored["message"] == reduced(events).text
    assert stored["message"].startswith("Cherry here")
    assert events[-1]["type"] == "interaction.cancelled"
    assert await cancel(system, interaction_id) == stored
    assert await everything(system, interaction_id) == events
    after = (await system.interact("And now?", session_id="stop", model=GOOD)).json()
    assert after["status"] == "completed"
    assert "I remember 2 earlier messages" in after["message"]


async def test_what_has_ended_stays_as_it_is(system: System) -> None:
    done = (await system.interact()).json()
    assert await cancel(system, done["interaction_id"]) == done


async def test_a_turn_in_line_can_be_cancelled(system: System) -> None:
    system.standin.script(MODEL, HELD)
    async with sending(system, session_id="queue", model=MODEL):
        await held(system)
        queued = (await system.interact("Never mind", session_id="queue", model=GOOD, background=True)).json()
        await eventually(lambda: _is_told(system, queued["interaction_id"], "interaction.queued"))
        view = await cancel(system, queued["interaction_id"])
        assert view["status"] in ("queued", "cancelled")
        assert (await read(system, queued["interaction_id"], wait=10))["status"] == "cancelled"
        system.standin.release()
    assert len(system.standin.ledger.calls) == 1


async def _is_told(system: System, interaction_id: str, kind: str) -> bool:
    async with opened(system, "GET", f"/api/llm/interactions/{interaction_id}/stream") as response:
        async for event in events_in(response):
            if event["type"] == kind:
                return True
    return False


async def test_a_turn_no_worker_has_taken_up_is_cancelled_at_once(own_system: System, temporal: Client) -> None:
    await own_system.start_api()
    queued = (await own_system.interact(session_id="s", background=True)).json()
    view = await cancel(own_system, queued["interaction_id"])
    assert (view["status"], view["attempts"]) == ("cancelled", [])
    following = await own_system.interact(session_id="s", background=True, multitask_strategy="reject")
    assert following.status_code == 202  # nobody is before it
    await own_system.start_worker()
    run = await closed_run(temporal, queued["workflow_id"])
    assert (await run.describe()).status is WorkflowExecutionStatus.CANCELED
    assert (await read(own_system, following.json()["interaction_id"], wait=30))["status"] == "completed"
    assert len(own_system.standin.ledger.calls) == 1
    assert (await own_system.interact(session_id="s")).json()["status"] == "completed"


async def test_a_completion_that_is_cancelled_is_a_conflict_to_its_caller(system: System) -> None:
    system.standin.script(MODEL, HELD)
    asking = asyncio.create_task(system.client.post(DIRECT, json={"messages": CHAT, "model": MODEL}))
    await held(system)
    running = await _open_completion(system)
    assert (await cancel(system, running))["status"] == "cancelled"
    assert_problem(await asking, 409, "cancelled")


async def _open_completion(system: System) -> str:
    path = system.directory / "data" / "orchestrator.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        query = "select interaction_id from interactions where kind = 'direct' and ended_at is null"
        (found,) = database.execute(query).fetchone()
    return str(found)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_may_wish_that_its_leaving_ends_the_reply(system: System, stream: bool) -> None:
    system.standin.script(MODEL, BEGUN)
    fields: Any = {"session_id": f"leave {stream}", "model": MODEL, "on_disconnect": "cancel"}
    await _leave(system, stream=stream, **fields)
    await aborted(system, system.standin.ledger.calls[0])
    view = await read(system, await interaction_of(system, f"leave {stream}"), wait=10)
    assert view["status"] == "cancelled"
    if stream:
        assert view["message"].startswith("Cherry here")


@pytest.mark.parametrize("stream", [True, False])
async def test_the_last_one_to_leave_ends_the_reply(system: System, stream: bool) -> None:
    system.standin.script(MODEL, BEGUN)
    session_id = f"last {stream}"
    fields = {"message": "Hello", "user_id": "user123", "session_id": session_id, "model": MODEL}
    wishes = {"on_disconnect": "cancel", "stream": stream}
    clients = [
        asyncio.create_task(
            system.client.post(INTERACT, json=fields | wishes, headers={"Idempotency-Key": f"both {stream}"})
        )
        for _ in range(2)
    ]
    await held(system)

    async def both_are_there() -> bool:
        shown = (await system.client.get("/metrics")).text
        return f"\norchestrator_{'streams' if stream else 'waits'} 2.0" in shown

    await eventually(both_are_there)
    call = system.standin.ledger.calls[0]
    clients[0].cancel()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(aborted(system, call), 1)
    clients[1].cancel()
    await asyncio.wait_for(aborted(system, call), 5)
    assert (await read(system, await interaction_of(system, session_id), wait=10))["status"] == "cancelled"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_reply_goes_on_without_its_client(system: System, stream: bool) -> None:
    system.standin.script(MODEL, BEGUN)
    await _leave(system, stream=stream, session_id=f"stay {stream}", model=MODEL)
    await system.client.get("/healthz")
    system.standin.release()
    view = await read(system, await interaction_of(system, f"stay {stream}"), wait=10)
    assert view["status"] == "completed"


async def _leave(system: System, *, stream: bool, **fields: Any) -> None:
    """Send a message, and go away once the model is at it."""
    if stream:
        async with sent(system, **fields) as response:
            async for event in events_in(response):
                if event["type"] == "text.delta":
                    break
    else:
        async with sending(system, **fields):
            await held(system)


async def test_a_client_that_stays_is_not_taken_for_gone(system: System) -> None:
    for stream in (True, False):
        response = await system.interact(stream=stream, on_disconnect="cancel")
        interaction_id = response.headers["x-interaction-id"]
        assert (await read(system, interaction_id))["status"] == "completed"


async def test_a_busy_session_may_refuse_a_message(system: System) -> None:
    system.standin.script(MODEL, HELD)
    assert (await system.interact(session_id="busy", multitask_strategy="reject")).status_code == 200
    async with sending(system, session_id="busy", model=MODEL) as request:
        await held(system)
        running = await interaction_of(system, "busy")
        refused = await system.interact("Me too", session_id="busy", multitask_strategy="reject", stream=True)
        found = assert_problem(refused, 409, "session_busy")
        assert found["interaction_id"] == running
        system.standin.release()
        assert (await request).json()["status"] == "completed"
    assert "Me too" not in [message["content"] for message in await transcript(system, "busy")]
    assert (await system.interact(session_id="busy", multitask_strategy="reject")).status_code == 200


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
async def test_a_message_may_push_the_ones_before_it_aside(system: System, strategy: str) -> None:
    session = f"pushed by {strategy}"
    system.standin.script(MODEL, BEGUN)
    async with sent(system, "One", session_id=session, model=MODEL) as response:
        stream = events_in(response)
        events = [await anext(stream)]
        while events[-1]["type"] != "text.delta":
            events.append(await anext(stream))
        waiting = (await system.interact("Two", session_id=session, model=GOOD, background=True)).json()
        reply = (await system.interact("Three", session_id=session, model=GOOD, multitask_strategy=strategy)).json()
        events += [event async for event in stream]
    await aborted(system, system.standin.ledger.calls[0])
    assert reply["status"] == "completed"
    assert events[-1]["type"] == "interaction.cancelled"
    first = events[-1]["response"]
    second = await read(system, waiting["interaction_id"], wait=10)
    assert (first["status"], second["status"]) == ("cancelled", "cancelled")
    kept = {"interrupt": ["One", first["message"], "Two", "Three"], "rollback": ["Three"]}[strategy]
    contents = [message["content"] for message in await transcript(system, session)]
    assert contents == [*kept, reply["message"]]
    assert (first["message"] is None) == (strategy == "rollback")
    assert reduced(events).text == (first["message"] or "")
    assert ("text.reset" in kinds(events)) == (strategy == "rollback")
    assert len(system.standin.ledger.calls) == 2
