"""Talking to streams: what a client sees of one, whole or cut off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from httpx_sse import EventSource

from core.orchestrator.examples.reply_reducer import Reply
from tests.harness import System
from tests.system.stories import Json

INTERACT = "/api/llm/interact"


@asynccontextmanager
async def opened(system: System, method: str, url: str, **request: Any) -> AsyncIterator[httpx.Response]:
    """A stream whose head has come."""
    async with system.client.stream(method, url, **request) as response:
        if response.status_code != 200:
            await response.aread()
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield response


async def events_in(response: httpx.Response) -> AsyncIterator[Json]:
    """The data of each event."""
    async for sse in EventSource(response).aiter_sse():
        if sse.data:  # a sign of life has none
            data: Json = sse.json()
            assert (sse.event, sse.id) == (data["type"], str(data["sequence_number"]))
            yield data


@asynccontextmanager
async def sent(system: System, message: str = "Hello", **fields: Any) -> AsyncIterator[httpx.Response]:
    """A message whose reply is streamed."""
    body = {"message": message, "user_id": "user123", "stream": True, **fields}
    async with opened(system, "POST", INTERACT, json=body) as response:
        yield response


@asynccontextmanager
async def followed(
    system: System, interaction_id: str, after: int = 0, *, by_header: bool = False
) -> AsyncIterator[httpx.Response]:
    """An interaction's stream, after the event of a number."""
    place: Json = {"headers": {"Last-Event-ID": str(after)}} if by_header else {"params": {"starting_after": after}}
    async with opened(system, "GET", f"/api/llm/interactions/{interaction_id}/stream", **place) as response:
        yield response


async def everything(system: System, interaction_id: str, after: int = 0, *, by_header: bool = False) -> list[Json]:
    """Every event after one, until the end."""
    async with followed(system, interaction_id, after, by_header=by_header) as response:
        return [event async for event in events_in(response)]


async def in_many_pieces(system: System, reply: Reply) -> int:
    """Follow an interaction to its end over connections that each break after one event; return how many it took."""
    connections = 0
    assert reply.interaction_id is not None
    while reply.response is None:
        async with followed(
            system, reply.interaction_id, reply.last_number, by_header=bool(connections % 2)
        ) as response:
            connections += 1
            async for event in events_in(response):
                assert reply.add(event)
                break
    return connections


def reduced(events: list[Json]) -> Reply:
    """What a client makes of events that came through one connection or several."""
    reply = Reply()
    for event in events:
        assert reply.add(event), "an event came twice"
    return reply


def kinds(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]
