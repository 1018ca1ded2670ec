"""Clients as they should be: they repeat a message under its key until they know what became of it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any
from uuid import uuid4

import httpx
from httpx_sse import aconnect_sse

from core.orchestrator.examples.reply_reducer import Reply
from tests.system.chaos.transcript import Answer, Sent

Json = dict[str, Any]

_CONFLICT = 409
_PAUSE_SECONDS = 0.05
_TIMEOUT = httpx.Timeout(30, connect=2)
_TRANSIENT = {502, 503, 504}


def connections() -> httpx.AsyncClient:
    """What clients share, who may be as many as they like."""
    return httpx.AsyncClient(timeout=_TIMEOUT, limits=httpx.Limits(max_connections=None))


class Way(Enum):
    """How a client wants its reply."""

    WAIT = auto()
    STREAM = auto()
    BACKGROUND = auto()


class _AgainError(Exception):
    """Nothing is known: the service was away, or went away meanwhile."""


@dataclass
class Client:
    """One who talks in one session, at whichever front answers."""

    http: httpx.AsyncClient
    urls: list[str]
    user_id: str
    session_id: str
    way: Way = Way.WAIT
    fields: Json = field(default_factory=dict)
    """More of what it asks."""
    breaks: int = 0
    """How many times it had to begin again."""

    async def says(self, text: str) -> Sent:
        """Send a message and return what became of it, however long that takes."""
        body = {"message": text, "user_id": self.user_id, "session_id": self.session_id, **self.fields}
        key = {"Idempotency-Key": str(uuid4())}
        message = _Message(body, key, Sent(text, self.session_id, time.monotonic(), 0))
        talk: dict[Way, Callable[[_Message], Awaitable[None]]] = {
            Way.WAIT: self._waits,
            Way.STREAM: self._watches,
            Way.BACKGROUND: self._comes_back,
        }
        while True:
            try:
                await talk[self.way](message)
            except (_AgainError, httpx.TransportError):
                self.breaks += 1
                self.urls = self.urls[1:] + self.urls[:1]
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return message.sent

    async def _waits(self, message: "_Message") -> None:
        message.hears(await self.http.post(f"{self.urls[0]}/api/llm/interact", json=message.body, headers=message.key))

    async def _comes_back(self, message: "_Message") -> None:
        if not message.sent.interaction_ids:
            body = {**message.body, "background": True}
            message.is_accepted(
                await self.http.post(f"{self.urls[0]}/api/llm/interact", json=body, headers=message.key)
            )
        if message.sent.answer is Answer.REFUSED:
            return
        (interaction_id,) = message.sent.interaction_ids
        url = f"{self.urls[0]}/api/llm/interactions/{interaction_id}"
        message.hears(await self.http.get(url, params={"wait": 20}))

    async def _watches(self, message: "_Message") -> None:
        """Watch the stream, from where it broke off if it did."""
        so_far = message.so_far
        if so_far.interaction_id:
            url = f"{self.urls[0]}/api/llm/interactions/{so_far.interaction_id}/stream"
            request: Json = {"method": "GET", "url": url, "params": {"starting_after": so_far.last_number}}
        else:
            url, body = f"{self.urls[0]}/api/llm/interact", {**message.body, "stream": True}
            request = {"method": "POST", "url": url, "json": body, "headers": message.key}
        async with aconnect_sse(self.http, **request) as source:
            if source.response.is_error:
                await source.response.aread()
                message.is_accepted(source.response)
                return
            async for event in source.aiter_sse():
                if event.data:  # httpx-sse takes a comment for an event without data
                    so_far.add(json.loads(event.data))
        message.is_streamed()


@dataclass
class _Message:
    """A message on its way."""

    body: Json
    key: dict[str, str]
    sent: Sent
    so_far: Reply = field(default_factory=Reply)

    def is_accepted(self, response: httpx.Response) -> None:
        """Take note of whether it was accepted.

        Raises:
            _AgainError: that is not known.
        """
        if response.status_code in _TRANSIENT:
            raise _AgainError
        now = time.monotonic()
        if response.status_code == _CONFLICT:
            self.sent = replace(self.sent, answer=Answer.REFUSED, answered_at=now)
            return
        assert response.is_success, response.text
        ids = self.sent.interaction_ids | {response.json()["interaction_id"]}
        self.sent = replace(self.sent, interaction_ids=ids, answered_at=self.sent.answered_at or now)

    def hears(self, response: httpx.Response) -> None:
        """Take the end of the interaction from a response.

        Raises:
            _AgainError: it has none yet.
        """
        self.is_accepted(response)
        if self.sent.answer is Answer.ACCEPTED:
            self._ends(response.json())

    def is_streamed(self) -> None:
        """Take the end of the interaction from its events.

        Raises:
            _AgainError: the stream broke off.
        """
        if self.so_far.response is None:
            raise _AgainError
        assert self.so_far.text == (self.so_far.response["message"] or ""), "the events do not add up to the reply"
        assert self.so_far.interaction_id is not None
        ids = self.sent.interaction_ids | {self.so_far.interaction_id}
        self.sent = replace(self.sent, interaction_ids=ids, answered_at=time.monotonic())
        self._ends(self.so_far.response)

    def _ends(self, view: Json) -> None:
        if view["status"] in ("queued", "in_progress"):
            raise _AgainError
        if view["status"] == "completed":
            self.sent = replace(self.sent, reply=view["message"])
