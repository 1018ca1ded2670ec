"""Responses that are watched, left alone, come back to, and cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx

from api.v1.response_events import Event
from tests.api.v1.response_types import as_event, as_response
from tests.api.v1.talk import chat, events_of
from tests.api.v1.test_responses import RESPONSES, WEATHER, respond
from tests.harness import System

HELD = {"hold": True, "after": 3}


async def _get(system: System, response_id: str, **query: Any) -> httpx.Response:
    response = await system.client.get(f"{RESPONSES}/{response_id}", params=query)
    assert response.status_code == 200, response.text
    return response


async def _events(system: System, response_id: str, after: int | None = None) -> list[Event]:
    query = {} if after is None else {"starting_after": after}
    return told(await _get(system, response_id, stream="true", **query))


async def _watched(system: System, response_id: str, meanwhile: Callable[[], Awaitable[Any]]) -> list[Event]:
    """Return what a stream tells while something is done."""
    async with system.client.stream("GET", f"{RESPONSES}/{response_id}?stream=true") as response:
        lines = response.aiter_lines()
        first = await anext(lines)
        await meanwhile()
        return _read([first, *[line async for line in lines]])


def told(response: httpx.Response) -> list[Event]:
    """Return what a stream told."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return _read(response.text.splitlines())


def _read(lines: list[str]) -> list[Event]:
    events = events_of("\n\n".join(line for line in lines if line.startswith("data: ")))
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert kinds == [as_event(event).type for event in events]
    return events


def text_of(events: list[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def _held(system: System) -> None:
    async with asyncio.timeout(20):
        await system.standin.ledger.until_held()


async def _release(system: System) -> None:
    system.standin.release()


async def _cancel(system: System, response_id: str) -> dict[str, Any]:
    response = await system.client.post(f"{RESPONSES}/{response_id}/cancel")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_stream_tells_the_reply_and_is_the_same_for_whoever_comes_later(system: System) -> None:
    response = await respond(system, stream=True)
    events = told(response)
    found = as_response(events[-1]["response"])
    assert events[-1]["type"] == "response.completed"
    assert found.output_text == text_of(events)
    assert found.id == f"resp_{response.headers['x-interaction-id']}"
    assert (await _get(system, found.id)).json() == events[-1]["response"]
    assert await _events(system, found.id) == events


async def test_a_stream_goes_on_wherever_it_was_cut(system: System) -> None:
    system.standin.script("openai/gpt-4", "tool-calls")
    whole = told(await respond(system, model="cherry@openai/gpt-4", tools=[WEATHER], stream=True))
    assert "response.function_call_arguments.done" in [event["type"] for event in whole]
    response_id = whole[-1]["response"]["id"]
    rests = await asyncio.gather(*(_events(system, response_id, event["sequence_number"]) for event in whole))
    for cut, rest in enumerate(rests, 1):
        assert whole[:cut] + rest == whole


async def test_in_the_background_it_is_answered_at_once_and_found_later(system: System) -> None:
    system.standin.script("openai/gpt-4", HELD)
    response = await respond(system, model="cherry@openai/gpt-4", background=True)
    begun = as_response(response.json())
    assert (response.status_code, begun.status, begun.background, begun.output) == (200, "queued", True, [])
    await _held(system)
    assert as_response((await _get(system, begun.id)).json()).status == "in_progress"
    events = await _watched(system, begun.id, partial(_release, system))
    assert [event["type"] for event in events][:3] == ["response.created", "response.queued", "response.in_progress"]
    assert as_response((await _get(system, begun.id)).json()).output_text == text_of(events) != ""


async def test_in_the_background_it_may_be_streamed_all_the_same(system: System) -> None:
    events = told(await respond(system, background=True, stream=True))
    assert events[0]["response"]["status"] == "queued"
    assert as_response(events[-1]["response"]).background


async def test_one_that_nobody_watched_is_told_as_a_whole(system: System) -> None:
    response_id = (await respond(system)).json()["id"]
    events = await _events(system, response_id)
    assert [event["type"] for event in events].count("response.output_text.delta") == 1
    assert as_response(events[-1]["response"]).output_text == text_of(events)


async def test_a_chat_may_be_watched_as_a_response(system: System) -> None:
    response = await chat(system)
    events = await _events(system, response.json()["id"])
    assert text_of(events) == response.json()["choices"][0]["message"]["content"]


async def test_cancelling_ends_it_and_may_be_repeated(system: System) -> None:
    system.standin.script("openai/gpt-4", HELD)
    response_id = (await respond(system, model="cherry@openai/gpt-4", background=True)).json()["id"]
    await _held(system)
    events = await _watched(system, response_id, partial(_cancel, system, response_id))
    again = await _cancel(system, response_id)
    assert as_response(again).status == "cancelled"
    assert again == await _cancel(system, response_id) == (await _get(system, response_id)).json()
    assert events[-1]["type"] in ("error", "response.incomplete")
    [end] = await _events(system, response_id, events[-1]["sequence_number"]) or [events[-1]]
    assert end["response"] == again


async def test_cancelling_what_has_ended_changes_nothing(system: System) -> None:
    found = (await respond(system)).json()
    assert await _cancel(system, found["id"]) == found


async def test_a_fallback_before_the_text_is_seen_by_nobody(system: System) -> None:
    system.standin.script("openai/gpt-4", "empty-choices", "ok")
    events = told(await respond(system, model="cherry@openai/gpt-4", stream=True))
    assert [event["type"] for event in events][:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert events[-1]["type"] == "response.completed"


async def test_text_that_is_withdrawn_ends_the_stream_and_the_reply_is_found_all_the_same(system: System) -> None:
    system.standin.script("openai/gpt-4", "reset", "ok")
    broken = told(await respond(system, model="cherry@openai/gpt-4", stream=True))
    assert broken[-1]["type"] == "error"
    assert broken[-1]["error"]["code"] == "reply_withdrawn"
    assert text_of(broken)
    response_id = broken[0]["response"]["id"]
    await system.client.get(f"/api/llm/interactions/{response_id.removeprefix('resp_')}", params={"wait": 20})
    [end] = await _events(system, response_id, broken[-1]["sequence_number"])
    # OpenAI's libraries raise the error, and so know of no more than the last event before it.
    assert await _events(system, response_id, broken[-2]["sequence_number"]) == [end]
    found = as_response(end["response"])
    assert found.status == "completed"
    whole = await _events(system, response_id)  # whoever comes now sees the reply alone
    assert text_of(whole) == found.output_text
    assert (whole[-1]["type"], whole[-1]["sequence_number"]) == (end["type"], end["sequence_number"])
    assert as_response((await _get(system, response_id)).json()).output_text == found.output_text


async def test_a_failure_before_the_text_is_the_end_of_the_stream(system: System) -> None:
    system.standin.script("openai/gpt-4", "context-length")
    events = told(await respond(system, model="cherry@openai/gpt-4", stream=True))
    assert [event["type"] for event in events] == ["response.created", "response.in_progress", "response.failed"]
    failed = as_response(events[-1]["response"])
    assert failed.error is not None
    assert failed.error.type == "context_length"
    assert await _events(system, failed.id) == events


async def test_one_that_ran_while_nobody_watched_may_be_watched_in_its_midst(system: System) -> None:
    system.standin.script("openai/gpt-4", HELD)
    asking = asyncio.create_task(respond(system, model="cherry@openai/gpt-4", user="watched-late"))
    await _held(system)
    found = (await system.client.get("/api/llm/interactions", params={"user_id": "watched-late"})).json()
    response_id = f"resp_{found['items'][0]['interaction_id']}"
    events = await _watched(system, response_id, partial(_release, system))
    assert text_of(events) == as_response((await asking).json()).output_text
