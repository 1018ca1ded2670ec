"""A small HTTP server that speaks the service's contract for one interaction, and fails as its script says."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

INTERACTION_ID = "0198c0de-0000-7000-8000-000000000001"

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "cached_tokens": 0,
    "reasoning_tokens": 0,
    "cost_usd": 0.25,
}


def response(message: str | None, **fields: Any) -> dict[str, Any]:
    """Return an ended interaction, as the service describes one."""
    return {
        "message": message,
        "persona_id": "cherry",
        "persona_name": "Cherry",
        "persona_version": "0123456789ab",
        "model": "openai/gpt-4",
        "provider": "openrouter",
        "usage": USAGE,
        "session_id": "tea-time",
        "interaction_id": INTERACTION_ID,
        "workflow_id": f"interaction-{INTERACTION_ID}",
        "status": "completed",
        "degraded": False,
        "error": None,
        "attempts": [],
        "response_time_ms": 1234,
    } | fields


def numbered(*events: dict[str, Any]) -> list[dict[str, Any]]:
    """Return events with their numbers and their interaction; two numbers are free before the last, as in the log."""
    numbers = [*range(1, len(events)), len(events) + 2]
    return [
        {"sequence_number": number, "interaction_id": INTERACTION_ID, **event}
        for number, event in zip(numbers, events, strict=True)
    ]


def told(*pieces: str | None, **fields: Any) -> list[dict[str, Any]]:
    """Return the events of an interaction that says these pieces, where None makes it forget those before."""
    text = ""
    events: list[dict[str, Any]] = [{"type": "interaction.created"}]
    for piece in pieces:
        text = "" if piece is None else text + piece
        events.append(
            {"type": "text.reset", "attempt": 1}
            if piece is None
            else {"type": "text.delta", "attempt": 1, "delta": piece}
        )
    ended = response(fields.pop("message", text), **fields)
    return numbered(*events, {"type": f"interaction.{ended['status']}", "response": ended})


@dataclass
class Request:
    """What a client asked for."""

    method: str
    path: str
    key: str | None
    after: str | None
    body: Any


@dataclass(frozen=True)
class Cut:
    """Answers as it should, and drops the connection after so many events."""

    events: int


@dataclass(frozen=True)
class Refuse:
    """Answers with a problem."""

    status: int
    fields: dict[str, Any] = field(default_factory=dict)
    retry_after: str | None = None


class Drop:
    """Drops the connection without an answer."""


Step = Cut | Refuse | Drop | None
"""None: nothing goes wrong."""


class Service:
    """Answers the requests to converse with one interaction: as the next step says, or, without one, as it should."""

    def __init__(self, events: Sequence[dict[str, Any]], *steps: Step) -> None:
        self.events = list(events)
        self.steps = list(steps)
        self.requests: list[Request] = []
        self.status = "in_progress"
        self.url = ""
        app = web.Application()
        app.add_routes(
            [
                web.post("/api/llm/interact", self._converse),
                web.post("/api/llm/direct", self._converse),
                web.get("/api/llm/interactions/{id}/stream", self._converse),
                web.get("/api/llm/interactions/{id}", self._state),
                web.get("/api/personas", self._personas),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _state(self, _: web.Request) -> web.Response:
        return web.json_response(response(None, status=self.status))

    async def _personas(self, _: web.Request) -> web.Response:
        cherry = {"id": "cherry", "name": "Cherry", "description": "a friend.", "greeting": ""}
        return web.json_response({"items": [cherry], "next_cursor": None})

    async def _converse(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        headers = request.headers
        self.requests.append(
            Request(request.method, request.path, headers.get("Idempotency-Key"), headers.get("Last-Event-ID"), body)
        )
        step = self.steps.pop(0) if self.steps else None
        match step:
            case Drop():
                _drop(request)
                return web.Response()
            case Refuse(status, fields, retry_after):
                problem = {"error_type": "unavailable", "detail": "not now", **fields}
                return web.json_response(
                    problem, status=status, headers={} if retry_after is None else {"Retry-After": retry_after}
                )
        if body is not None and not body.get("stream"):
            view = self.events[-1]["response"]
            return web.json_response({**view, "content": view["message"]})
        return await self._stream(request, step)

    async def _stream(self, request: web.Request, cut: Cut | None) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        after = int(request.headers.get("Last-Event-ID", 0))
        coming = [event for event in self.events if event["sequence_number"] > after]
        for event in coming[: None if cut is None else cut.events]:
            lines = f"event: {event['type']}\nid: {event['sequence_number']}\ndata: {json.dumps(event)}\n\n: ping\n\n"
            await stream.write(lines.encode())
        if cut is not None:
            await asyncio.sleep(0)  # lets the transport write before it is closed
            _drop(request)
        return stream


def _drop(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.close()
