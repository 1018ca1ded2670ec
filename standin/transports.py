"""The two ways an answer travels: as a stream of events, or whole."""

import asyncio
from typing import Any

from typing_extensions import override

from standin import wire
from standin.answer import Answer
from standin.wire import Json, UsageShape

_BETWEEN_SPLIT_WRITES = 0.002
"""Seconds: writes that follow at once may reach the client in one read."""


class StreamedAnswer(Answer):
    """Server-sent events. Whoever hangs up pays for the tokens sent so far and no more."""

    content_type = "text/event-stream"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._frame = wire.event
        self._says_done = True

    @override
    async def open(self) -> None:
        if not self.response.prepared:
            await self.keep_alive()

    @override
    async def keep_alive(self) -> None:
        await self.write(wire.COMMENT)

    @override
    async def payload(self, data: str) -> None:
        first, *others = self._frame(data)
        await self.write(first)
        for part in others:
            await asyncio.sleep(_BETWEEN_SPLIT_WRITES)
            await self.write(part)

    @override
    async def choiceless(self, choices: list[Json] | None) -> None:
        await self.payload(wire.dumps(wire.choiceless_chunk(self.call, choices)))
        await self._done()

    @override
    async def fail(self, error: Json) -> None:
        self.call.finish_reason = "error"
        await self.payload(wire.dumps({**wire.chunk(self.call, {}, "error"), **error}))
        await self._done()

    @override
    async def break_off(self) -> None:
        """A stream is unfinished as it is."""

    @override
    async def go_odd(self) -> None:
        self._frame = wire.odd_event
        self._says_done = False

    @override
    async def _deliver(self, field: str, piece: str) -> None:
        await self.payload(wire.dumps(wire.chunk(self.call, {field: piece})))

    @override
    async def _deliver_call(self, index: int, begun: Json, arguments: list[str]) -> None:
        rest = ({"function": {"arguments": piece}} for piece in arguments)
        for piece in (begun, *rest):
            await self.payload(wire.dumps(wire.chunk(self.call, {"tool_calls": [{"index": index, **piece}]})))

    @override
    async def _conclude(self, usage: Json | None, shape: UsageShape) -> None:
        await self.payload(wire.dumps(wire.chunk(self.call, {}, self.call.finish_reason)))
        if usage is not None:
            await self.payload(wire.dumps(wire.usage_chunk(self.call, usage, shape)))
        await self._done()

    async def _done(self) -> None:
        if self._says_done:
            await self.payload(wire.DONE)


class WholeAnswer(Answer):
    """One JSON body. The provider does not notice that nobody waits any more: it is billed in full."""

    content_type = "application/json"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._message: Json = {}

    @override
    def abandon(self) -> None:
        super().abandon()
        self.call.completion_tokens = max(self.call.completion_tokens, len(self.pieces))

    @override
    async def open(self) -> None:
        """Nothing is sent before the body."""

    @override
    async def keep_alive(self) -> None:
        """Blank space may come before a JSON body."""
        await self.write(b"\n")

    @override
    async def payload(self, data: str) -> None:
        await self.write(data.encode())

    @override
    async def choiceless(self, choices: list[Json] | None) -> None:
        await self.payload(wire.dumps({**self._body(), "choices": choices}))

    @override
    async def fail(self, error: Json) -> None:
        self.call.finish_reason = "error"
        body = self._body()
        if self._message:
            body["choices"][0] |= error
        else:
            body = {"id": self.call.generation_id, **error}
        await self.payload(wire.dumps(body))

    @override
    async def break_off(self) -> None:
        body = wire.dumps(self._body())
        await self.payload(body[: len(body) // 2])

    @override
    async def go_odd(self) -> None:
        await self.keep_alive()

    @override
    async def _deliver(self, field: str, piece: str) -> None:
        self._message[field] = self._message.get(field, "") + piece

    @override
    async def _deliver_call(self, index: int, begun: Json, arguments: list[str]) -> None:
        whole = {**begun, "function": {**begun["function"], "arguments": "".join(arguments)}}
        self._message.setdefault("tool_calls", []).append(whole)

    @override
    async def _conclude(self, usage: Json | None, shape: UsageShape) -> None:
        body = self._body() if usage is None else {**self._body(), "usage": usage}
        await self.payload(wire.dumps(body))

    def _body(self) -> Json:
        return wire.completion(self.call, dict(self._message))
