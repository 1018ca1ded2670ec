"""One answer on its way to a client, streamed or whole.

Faults are written once, against `Answer`, and hold for both ways of sending. The invariant: nothing reaches the client
before `open`, and an answer that never reaches `finish` counts as failed.
"""

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import ClassVar

from aiohttp import web

from standin import wire
from standin.ledger import Call, Ledger, Outcome
from standin.pace import Pace
from standin.wire import Json, UsageShape

_NOTHING_TO_WAIT_FOR = timedelta(0)
_ARGUMENTS_PIECE = 6
"""Characters: few arguments are so short that they come whole."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Answer(ABC):
    """What a fault can do to a call."""

    content_type: ClassVar[str]

    def __init__(
        self, request: web.Request, call: Call, *, ledger: Ledger, pace: Pace, pieces: list[str], finish_reason: str
    ) -> None:
        self.request = request
        self.call = call
        self.ledger = ledger
        self.pace = pace
        self.pieces = pieces
        """The text, cut into tokens."""
        self.finish_reason = finish_reason
        self.outcome = Outcome.FAILED
        self.response: web.StreamResponse = web.StreamResponse(
            headers={"Content-Type": self.content_type, "X-Generation-Id": call.generation_id}
        )
        self._spoken = 0

    @property
    def half(self) -> int:
        """How many tokens are about half of the text, at least one."""
        return (len(self.pieces) + 1) // 2

    @property
    def key(self) -> str:
        """The key that the call was made with."""
        return self.request.headers["Authorization"].partition(" ")[2].strip()

    def usage(self) -> Json:
        """What was used so far."""
        return wire.usage(self.call)

    async def speak(self, until: int | None = None) -> None:
        """Send the text from where it stopped, up to that many tokens in all."""
        await self.open()
        for piece in self.pieces[self._spoken : until]:
            await self.idle(self.pace.token if self._spoken else self.pace.first_token)
            await self.emit("content", piece)
            self._spoken += 1

    async def think(self, thoughts: list[str]) -> None:
        """Spend tokens on reasoning."""
        for thought in thoughts:
            await self.emit("reasoning", thought)
            self.call.reasoning_tokens += 1

    async def emit(self, field: str, piece: str) -> None:
        """Generate one token of the content, the reasoning or a refusal: from here on it is billed."""
        self.call.completion_tokens += 1
        await self._deliver(field, piece)

    async def call_tools(self, called: Sequence[tuple[str, str]]) -> None:
        """Call tools of the client's, each by name and arguments; every piece of the arguments is a token."""
        await self.open()
        for index, (name, arguments) in enumerate(called):
            await self.idle(self.pace.token if index else self.pace.first_token)
            pieces = [
                arguments[start : start + _ARGUMENTS_PIECE] for start in range(0, len(arguments), _ARGUMENTS_PIECE)
            ]
            self.call.completion_tokens += 1 + len(pieces)
            await self._deliver_call(index, wire.tool_call(name), pieces)

    async def idle(self, length: timedelta | None = None, over: asyncio.Event | None = None) -> None:
        """Let time pass with signs of life and no data: for a length, or until an event, or for ever."""
        if length == _NOTHING_TO_WAIT_FOR:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + length.total_seconds() if length else float("inf")
        over = over or asyncio.Event()
        while not over.is_set() and (left := end - loop.time()) > 0:
            beat = self.pace.keep_alive.total_seconds()
            try:
                async with asyncio.timeout(min(left, beat)):
                    await over.wait()
            except TimeoutError:
                if left > beat:
                    await self.keep_alive()

    async def hold(self, gate: asyncio.Event) -> None:
        """Stay open until the gate opens, and let the ledger show it."""
        self.call.held = True
        self.ledger.changed()
        try:
            await self.idle(over=gate)
        finally:
            self.call.held = False
            self.ledger.changed()

    def respond(self, status: int, body: Json | str, headers: Mapping[str, str] | None = None) -> None:
        """Send a plain HTTP response instead of an answer: an object as JSON, a string as it is."""
        text, kind = (body, "text/html") if isinstance(body, str) else (wire.dumps(body), "application/json")
        all_headers = {"Content-Type": f"{kind}; charset=utf-8", **(headers or {})}
        if status == web.HTTPOk.status_code:
            all_headers["X-Generation-Id"] = self.call.generation_id
        self.response = web.Response(status=status, body=text.encode(), headers=all_headers)

    def reset(self) -> None:
        """Break the connection with a TCP reset; a plain close would look like a clean end to some clients."""
        transport = self.request.transport
        if transport is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()

    def abandon(self) -> None:
        """Take note that the client has left."""
        self.outcome = Outcome.ABORTED

    async def finish(
        self, usage: Json | None, reason: str | None = None, shape: UsageShape = UsageShape.NO_CHOICES
    ) -> None:
        """End the answer as an answer should end; without usage, nothing is said about it."""
        self.call.finish_reason = reason or self.finish_reason
        await self._conclude(usage, shape)
        self.outcome = Outcome.COMPLETED

    async def write(self, data: bytes) -> None:
        """Send bytes; the first ones bring the headers along."""
        if not self.response.prepared:
            await self.response.prepare(self.request)
        await self.response.write(data)

    @abstractmethod
    async def open(self) -> None:
        """Accept the call: from here on the status is 200, whatever happens."""

    @abstractmethod
    async def keep_alive(self) -> None:
        """Send a sign of life that is not data."""

    @abstractmethod
    async def payload(self, data: str) -> None:
        """Send data as they are: an event of a stream, or the body."""

    @abstractmethod
    async def choiceless(self, choices: list[Json] | None) -> None:
        """Answer without any choice."""

    @abstractmethod
    async def fail(self, error: Json) -> None:
        """Report an error after the 200, beside the text sent so far."""

    @abstractmethod
    async def break_off(self) -> None:
        """Leave the answer unfinished."""

    @abstractmethod
    async def go_odd(self) -> None:
        """From here on use the strangest framing that is still correct."""

    @abstractmethod
    async def _deliver(self, field: str, piece: str) -> None: ...

    @abstractmethod
    async def _deliver_call(self, index: int, begun: Json, arguments: list[str]) -> None: ...

    @abstractmethod
    async def _conclude(self, usage: Json | None, shape: UsageShape) -> None: ...
