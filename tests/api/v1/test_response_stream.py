"""Streams of responses in one process: what they tell while the log grows, breaks off, and is gone."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from api.service import InteractionService
from api.v1.response_events import Event, ResponseEvents
from api.v1.response_stream import ResponseStream
from api.waiting import Waits
from core.orchestrator.events import TextDelta, TextReset
from core.orchestrator.replies.log import append
from core.orchestrator.replies.trimming import ReplyLogTrimmer
from tests.api.house import DONE, House
from tests.api.v1.talk import events_of
from tests.core.orchestrator.domain import LATER

REPLY = DONE.reply or ""


async def _stream(
    house: House, interaction_id: str, after: int | None = None, waits: Waits | None = None
) -> AsyncGenerator[bytes, None]:
    service: InteractionService = house.service(waits=waits)
    events = ResponseEvents(await house.application.store.view(interaction_id), {}, after)
    logged_after = await service.last_reset(interaction_id) if events.is_new else events.logged_after
    return ResponseStream(await service.stream(interaction_id, logged_after), events).chunks()


async def _told(house: House, interaction_id: str, after: int | None = None) -> list[Event]:
    async with aclosing(await _stream(house, interaction_id, after)) as chunks, asyncio.timeout(5):
        return _read([chunk async for chunk in chunks])


def _read(chunks: list[bytes]) -> list[Event]:
    lines = b"".join(chunks).decode().splitlines()
    return events_of("\n\n".join(line for line in lines if line.startswith("data: ")))


async def _say(house: House, interaction_id: str, *events: str | None) -> None:
    """Log pieces of a text; None: all before is forgotten."""
    async with house.application.database.write() as connection:
        for said in events:
            event = (
                TextReset(interaction_id=interaction_id, attempt=1)
                if said is None
                else TextDelta(interaction_id=interaction_id, attempt=1, delta=said)
            )
            await append(connection, event)


async def _trim(house: House) -> None:
    minute = timedelta(minutes=1)
    await ReplyLogTrimmer(house.application.database, minute, minute, lambda: LATER).trim()


def _kinds(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def _text(events: list[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def test_what_is_said_is_told_at_once(house: House) -> None:
    interaction_id = await house.opened()
    async with aclosing(await _stream(house, interaction_id)) as chunks, asyncio.timeout(5):
        assert _kinds(_read([await anext(chunks)])) == ["response.created"]
        await _say(house, interaction_id, REPLY[:1])
        assert _kinds(_read([await anext(chunks) for _ in range(4)])) == [
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
        ]
        await house.end(interaction_id)
        rest = _read([chunk async for chunk in chunks])
    assert _text(rest) == REPLY[1:]
    assert _kinds(rest)[-1] == "response.completed"


async def test_when_the_process_stops_a_stream_says_so_and_goes_on_at_the_next(house: House) -> None:
    interaction_id = await house.opened()
    await _say(house, interaction_id, REPLY[:1])
    waits = house.waits()
    async with aclosing(await _stream(house, interaction_id, waits=waits)) as chunks, asyncio.timeout(5):
        seen = [await anext(chunks) for _ in range(5)]
        waits.end_streams()
        events = _read([*seen, *[chunk async for chunk in chunks]])
    assert _kinds(events)[-1] == "error"
    assert events[-1]["error"]["code"] == "stream_broken"
    await house.end(interaction_id)
    rest = await _told(house, interaction_id, events[-1]["sequence_number"])
    assert _text([*events, *rest]) == REPLY
    assert _kinds(rest)[-1] == "response.completed"


async def test_a_reader_is_told_when_what_it_saw_is_withdrawn_and_gets_the_end_when_it_comes_back(house: House) -> None:
    interaction_id = await house.opened()
    await _say(house, interaction_id, "Something else")
    async with aclosing(await _stream(house, interaction_id)) as chunks, asyncio.timeout(5):
        seen = [await anext(chunks) for _ in range(5)]
        await _say(house, interaction_id, None)
        events = _read([*seen, *[chunk async for chunk in chunks]])
    assert _kinds(events)[-1] == "error"
    coming_back = asyncio.create_task(_told(house, interaction_id, events[-1]["sequence_number"]))
    await _say(house, interaction_id, REPLY)
    await house.end(interaction_id)
    assert _kinds(await coming_back) == ["response.completed"]
    assert _text(await _told(house, interaction_id)) == REPLY


async def test_a_reader_that_only_knows_what_it_saw_before_the_error_gets_the_end_once_there_is_one(
    house: House,
) -> None:
    interaction_id = await house.opened()
    await _say(house, interaction_id, "Something else")
    async with aclosing(await _stream(house, interaction_id)) as chunks, asyncio.timeout(5):
        last_seen = _read([await anext(chunks) for _ in range(5)])[-1]["sequence_number"]
        await _say(house, interaction_id, None, REPLY[:1])
    withdrawn = await _told(house, interaction_id, last_seen)
    assert _kinds(withdrawn) == ["error"]
    assert f"GET /v1/responses/resp_{interaction_id}" in withdrawn[0]["message"]
    assert "?stream=true" in withdrawn[0]["message"]
    await _say(house, interaction_id, REPLY[1:])
    await house.end(interaction_id)
    [end] = await _told(house, interaction_id, last_seen)
    assert (end["type"], end["response"]["output"][0]["content"][0]["text"]) == ("response.completed", REPLY)


async def test_when_the_log_is_gone_whoever_comes_back_gets_the_whole(house: House) -> None:
    interaction_id = await house.opened()
    await _say(house, interaction_id, REPLY[:1])
    await house.end(interaction_id)
    whole = await _told(house, interaction_id)
    await _trim(house)
    assert _text(await _told(house, interaction_id)) == REPLY
    for cut, event in enumerate(whole, 1):
        rest = await _told(house, interaction_id, event["sequence_number"])
        assert _text(whole[:cut]) + _text(rest) == REPLY or rest == whole[-1:]
        assert [*whole[:cut], *rest][-1] == whole[-1]


async def test_whoever_has_seen_the_end_is_told_nothing_more(house: House) -> None:
    interaction_id = await house.opened()
    await house.end(interaction_id)
    last = (await _told(house, interaction_id))[-1]["sequence_number"]
    for after in (last, last + 1, 2**53):
        assert await _told(house, interaction_id, after) == []
