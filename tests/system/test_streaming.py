"""Streams: in order, from any event on, and whatever they came through they add up to the stored reply."""

import asyncio
from typing import Any

import httpx
import pytest

from core.orchestrator.examples.reply_reducer import Reply
from tests.api.talk import CHAT, DIRECT, assert_problem
from tests.harness import System
from tests.system.stories import SHORT_HEARTBEAT, eventually, held, interaction_of, read, sending, worker_calling
from tests.system.streams import (
    INTERACT,
    events_in,
    everything,
    followed,
    in_many_pieces,
    kinds,
    opened,
    reduced,
    sent,
)

MODEL = "test/model"
GOOD = "openai/gpt-4"
BEGUN = {"hold": True, "after": 3}


async def test_a_stream_tells_the_whole_story_in_order(system: System) -> None:
    system.standin.script(MODEL, BEGUN)
    async with sent(system, session_id="story", model=MODEL, fallback_models=[]) as response:
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        interaction_id = response.headers["x-interaction-id"]
        assert response.headers["location"] == f"/api/llm/interactions/{interaction_id}"
        stream = events_in(response)
        events = [await anext(stream) for _ in range(4)]
        await held(system)  # the first words are there while the model is still at it
        system.standin.release()
        events += [event async for event in stream]
    assert kinds(events)[:4] == ["interaction.created", "interaction.in_progress", "attempt.started", "text.delta"]
    assert set(kinds(events)[4:-1]) == {"text.delta"}
    numbers = [event["sequence_number"] for event in events]
    assert numbers == [*range(1, len(events)), len(events) + 2]
    assert {event["interaction_id"] for event in events} == {interaction_id}
    created, began, attempt, *_, end = events
    assert (created["session_id"], created["persona_id"]) == ("story", "cherry")
    assert created["workflow_id"] == f"interaction-{interaction_id}"
    assert (began["agent"], began["models"]) == ("conversation", [MODEL])
    assert (attempt["attempt"], attempt["model"]) == (1, MODEL)
    assert (end["type"], end["response"]) == ("interaction.completed", await read(system, interaction_id))
    assert reduced(events).text == end["response"]["message"]


async def test_a_turn_in_line_is_told_what_it_waits_for(system: System) -> None:
    system.standin.script(MODEL, {"hold": True})
    async with sending(system, session_id="line", model=MODEL):
        await held(system)
        first = await interaction_of(system, "line")
        async with sent(system, session_id="line", model=GOOD) as response:
            stream = events_in(response)
            events = [await anext(stream), await anext(stream)]
            assert kinds(events) == ["interaction.created", "interaction.queued"]
            assert events[1]["waiting_on"] == first
            system.standin.release()
            events += [event async for event in stream]
    assert kinds(events)[2] == "interaction.in_progress"
    assert reduced(events).text == events[-1]["response"]["message"]


async def test_direct_can_be_streamed(system: System) -> None:
    async with opened(system, "POST", DIRECT, json={"messages": CHAT, "stream": True}) as response:
        events = [event async for event in events_in(response)]
    view = await read(system, response.headers["x-interaction-id"])
    assert (events[0]["type"], events[0]["session_id"]) == ("interaction.created", None)
    assert events[-1]["response"] == view
    assert reduced(events).text == view["message"]


FAULTS = ["error-mid-stream", "truncated", "reset", "malformed"]


@pytest.mark.parametrize("after_output", ["restart", "incomplete", "continue"])
async def test_attempts_that_fail_after_some_text_leave_no_trace_in_the_reply(
    system: System, after_output: str
) -> None:
    async def one(fault: str, persona: str) -> None:
        model = f"test/{fault}-{persona}"
        system.standin.script(model, fault)
        fields: Any = {"model": model, "fallback_models": [GOOD], "after_output": after_output, "persona_id": persona}
        async with sent(system, "Ring the 🔔 bell", **fields) as response:
            events = [event async for event in events_in(response)]
        view = events[-1]["response"]
        reply = reduced(events)
        assert reply.text == view["message"]
        assert "attempt.failed" in kinds(events)
        assert ("text.reset" in kinds(events)) == (after_output == "restart" or persona == "karen")
        assert events[-1]["type"] == f"interaction.{view['status']}"
        pieces = Reply(interaction_id=reply.interaction_id)
        assert await in_many_pieces(system, pieces) == len(events)
        assert pieces.text == view["message"]

    personas = ["cherry"] if after_output == "incomplete" else ["cherry", "karen"]  # who changes a whole reply's text
    await asyncio.gather(*[one(fault, persona) for fault in FAULTS for persona in personas])


async def test_a_stream_cut_at_any_event_goes_on_with_the_next(system: System) -> None:
    system.standin.script(MODEL, "error-mid-stream")
    async with sent(system, "Ring the 🔔 bell", persona_id="karen", model=MODEL, fallback_models=[GOOD]) as response:
        events = [event async for event in events_in(response)]
    interaction_id = response.headers["x-interaction-id"]
    assert {"text.delta", "attempt.failed", "text.reset"} <= set(kinds(events))

    async def is_billed() -> (
        bool
    ):  # what the broken call cost is found out later, and the last event tells it from then on
        return (await read(system, interaction_id))["usage"]["cost_usd"] is not None

    await eventually(is_billed)
    view = await read(system, interaction_id)
    message, events[-1]["response"] = view["message"], view

    async def cut(place: int, *, by_header: bool) -> None:
        after = events[place]["sequence_number"]
        rest = await everything(system, interaction_id, after, by_header=by_header)
        assert rest == events[place + 1 :]
        assert reduced(events[: place + 1] + rest).text == message

    assert await everything(system, interaction_id) == events
    await asyncio.gather(
        *[cut(place, by_header=by_header) for place in range(len(events) - 1) for by_header in (True, False)]
    )


async def test_a_connection_that_breaks_after_each_event_loses_nothing_while_the_reply_grows(system: System) -> None:
    system.standin.script(MODEL, "error-mid-stream", BEGUN)
    async with sent(system, model=MODEL, fallback_models=[]) as response:
        reply = Reply(interaction_id=response.headers["x-interaction-id"])
    following = asyncio.create_task(in_many_pieces(system, reply))
    await held(system)
    system.standin.release()
    assert await following > 5
    assert reply.response is not None
    assert reply.text == reply.response["message"]


async def test_the_larger_number_counts_where_both_are_given(system: System) -> None:
    events = await everything(system, (await system.interact()).json()["interaction_id"])
    url = f"/api/llm/interactions/{events[0]['interaction_id']}/stream"
    for header, query in [(1, 2), (2, 1)]:
        request = system.client.build_request(
            "GET", url, headers={"Last-Event-ID": str(header)}, params={"starting_after": query}
        )
        response = await system.client.send(request)
        assert response.text.startswith("event: interaction.completed\n")


async def test_whoever_has_seen_the_end_is_told_not_to_come_back(system: System) -> None:
    interaction_id = (await system.interact()).json()["interaction_id"]
    end = (await everything(system, interaction_id))[-1]["sequence_number"]
    for after in (end, end + 1, 2**53):
        response = await system.client.get(f"/api/llm/interactions/{interaction_id}/stream?starting_after={after}")
        assert (response.status_code, response.content) == (204, b"")


async def test_a_reply_that_nobody_watched_can_be_streamed_afterwards(system: System) -> None:
    view = (await system.interact()).json()
    events = await everything(system, view["interaction_id"])
    assert kinds(events) == ["text.reset", "text.delta", "interaction.completed"]
    assert reduced(events).response == view
    assert reduced(events).text == view["message"]


async def test_a_watcher_who_comes_in_the_middle_of_an_unwatched_reply_gets_it_whole(system: System) -> None:
    system.standin.script(MODEL, BEGUN)
    async with sending(system, session_id="middle", model=MODEL) as request:
        await held(system)
        interaction_id = await interaction_of(system, "middle")
        async with followed(system, interaction_id) as response:
            system.standin.release()
            events = [event async for event in events_in(response)]
        assert (await request).json() == events[-1]["response"]
    assert reduced(events).text == events[-1]["response"]["message"]


async def test_a_failure_is_streamed_as_the_line_that_is_said(system: System) -> None:
    async with sent(system, model="standin/unauthorized", fallback_models=[]) as response:
        events = [event async for event in events_in(response)]
    assert kinds(events)[-2:] == ["text.delta", "interaction.failed"]
    end = events[-1]["response"]
    assert (reduced(events).text, end["degraded"]) == (end["message"], True)
    async with sent(system, model="standin/unauthorized", fallback_models=[], on_failure="error") as response:
        events = [event async for event in events_in(response)]
    assert (events[-1]["type"], events[-1]["response"]["message"], reduced(events).text) == (
        "interaction.failed",
        None,
        "",
    )


async def test_what_is_refused_is_a_problem_and_no_stream(system: System) -> None:
    body = {"message": "Hello", "user_id": "user123", "stream": True}
    assert_problem(await system.client.post(INTERACT, json=body | {"persona_id": "nobody"}), 404, "not_found")
    assert_problem(await system.client.post(INTERACT, json=body | {"temperature": 3}), 422, path="temperature")


async def test_in_the_background_a_message_is_accepted_at_once(own_system: System) -> None:
    await own_system.start_api()
    accepted = await own_system.interact(session_id="later", background=True)  # before there is any worker
    assert accepted.status_code == 202
    body = accepted.json()
    interaction_id = body["interaction_id"]
    assert body == {
        "interaction_id": interaction_id,
        "session_id": "later",
        "workflow_id": f"interaction-{interaction_id}",
        "status": "queued",
    }
    assert accepted.headers["location"] == f"/api/llm/interactions/{interaction_id}"
    assert accepted.headers["x-interaction-id"] == interaction_id
    assert (await read(own_system, interaction_id))["status"] == "queued"
    direct = await own_system.client.post(DIRECT, json={"messages": CHAT, "background": True})
    assert (direct.status_code, direct.json()["session_id"], direct.json()["status"]) == (202, None, "queued")
    waiting = [
        asyncio.create_task(own_system.client.get(response.headers["location"], params={"wait": 60}))
        for response in (accepted, direct)
    ]
    await own_system.start_worker()
    assert [(await wait).json()["status"] for wait in waiting] == ["completed", "completed"]
    events = await everything(own_system, interaction_id)
    assert kinds(events)[0] == "interaction.created"
    assert reduced(events).text == (await read(own_system, interaction_id))["message"]


async def test_a_killed_worker_resets_what_was_shown_and_the_reply_adds_up(own_system: System) -> None:
    own_system.standin.script(MODEL, BEGUN)
    await own_system.start_api()
    workers = [await own_system.start_worker(**SHORT_HEARTBEAT) for _ in range(2)]
    async with sent(own_system, model=MODEL, fallback_models=[]) as response:
        stream = events_in(response)
        events = [await anext(stream)]
        while events[-1]["type"] != "text.delta":
            events.append(await anext(stream))
        await worker_calling(workers, response.headers["x-interaction-id"]).kill()
        events += [event async for event in stream]
    assert "text.reset" in kinds(events)
    lost = next(event for event in events if event["type"] == "attempt.failed")
    assert lost["error_type"] == "worker_lost"
    view = await read(own_system, response.headers["x-interaction-id"])
    assert reduced(events).text == view["message"]
    assert events == await everything(own_system, view["interaction_id"])


async def test_a_stream_ends_with_the_process_and_is_taken_up_at_the_next(own_system: System) -> None:
    own_system.standin.script(MODEL, BEGUN)
    await own_system.start_worker()
    api = await own_system.start_api(SHUTDOWN_GRACE_SECONDS="1")
    reply = Reply()
    async with sent(own_system, model=MODEL, on_disconnect="cancel") as response:
        stream = events_in(response)
        while not reply.text:
            reply.add(await anext(stream))
        stopping = asyncio.create_task(api.stop())
        async for event in stream:
            reply.add(event)
    assert await stopping == 0
    assert "Traceback" not in api.output
    assert reply.response is None
    await own_system.start_api()
    own_system.standin.release()
    await in_many_pieces(own_system, reply)
    assert reply.response is not None
    assert (reply.response["status"], reply.text) == ("completed", reply.response["message"])


async def test_streams_that_idle_or_are_not_read_hold_nothing_up(system: System) -> None:
    system.standin.script(MODEL, BEGUN)
    limits = httpx.Limits(max_connections=None)
    async with (
        sending(system, session_id="idle", model=MODEL) as request,
        httpx.AsyncClient(base_url=system.url, timeout=60, limits=limits) as crowd,
    ):
        await held(system)
        interaction_id = await interaction_of(system, "idle")
        url = f"/api/llm/interactions/{interaction_id}/stream"
        idle = await asyncio.gather(*[crowd.send(crowd.build_request("GET", url), stream=True) for _ in range(100)])
        assert {response.status_code for response in idle} == {200}
        assert (await system.interact()).status_code == 200
        system.standin.release()
        message = (await request).json()["message"]

        async def whole(response: httpx.Response) -> str:
            return reduced([event async for event in events_in(response)]).text

        assert {await whole(response) for response in idle} == {message}
