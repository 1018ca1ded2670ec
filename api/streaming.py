"""An interaction as a stream of server-sent events: as they come, from any of them on.

A stream may break at any moment without a loss: each event has a number, and whoever comes back with the last one it
saw is given what follows. So a stream simply ends where it cannot go on: when the process stops, or the database does
not answer.
"""

import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from time import monotonic
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from api.waiting import Waits
from core.orchestrator.errors import OrchestratorError
from core.orchestrator.events import EVENT_TYPES
from core.orchestrator.interactions.following import ReplyFollower
from core.orchestrator.replies.log import LoggedEvent

logger = logging.getLogger("orchestrator.api")

_EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": sorted(EVENT_TYPES)},
        "id": {"type": "string", "description": "The event's number, increasing within the interaction."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "type": "object",
                "required": ["type", "sequence_number", "interaction_id"],
                "properties": {
                    "type": {"type": "string"},
                    "sequence_number": {"type": "integer"},
                    "interaction_id": {"type": "string"},
                    "response": {"description": "The whole interaction; in the last event only."},
                },
            },
        },
    },
}
STREAM_CONTENT: dict[str, Any] = {EventSourceResponse.media_type: {"itemSchema": _EVENT}}
"""For the OpenAPI description."""
KEEP_ALIVE = timedelta(seconds=15)


class ReplyStream:
    """The events of one interaction after one of them."""

    def __init__(
        self,
        follower: ReplyFollower,
        waits: Waits,
        interaction_id: str,
        after: int = 0,
        *,
        over: bool = False,
        keep_alive: timedelta = KEEP_ALIVE,
    ) -> None:
        """Read what comes after the event `after`, with a sign of life at least every `keep_alive`."""
        self._follower = follower
        self._waits = waits
        self._keep_alive = keep_alive.total_seconds()
        self._after = after
        self.interaction_id = interaction_id
        self.over = over
        """Nothing more comes: everything was handed out, or it broke off on our side."""

    @property
    def ends_with_us(self) -> bool:
        """Whether it has ended, or is about to, with nothing to be read from its client's leaving."""
        return self.over or self._waits.streams_end

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the stream as it stands on the wire."""
        try:
            async with aclosing(self.events()) as events:
                async for event in events:
                    yield KEEPALIVE_COMMENT if event is None else self._on_the_wire(event)
        except OrchestratorError as error:
            logger.warning("a stream of %s broke off: %s", self.interaction_id, error)
        self.over = True

    async def events(self) -> AsyncGenerator[LoggedEvent | None, None]:
        """Yield each event, or None as a sign of life; end after the last one, or when the process is asked to stop."""
        async with self._waits.on(self.interaction_id, resumable=True) as wait:
            heard = monotonic()
            while not self._waits.streams_end:
                batch = await self._follower.read(self.interaction_id, self._after)
                for event in batch.events:
                    yield event
                    self._after = event.sequence_number
                    heard = monotonic()
                if batch.last:
                    return
                if batch.more:
                    continue
                while not await wait.changed(max(0, heard + self._keep_alive - monotonic())):
                    yield None
                    heard = monotonic()

    def _on_the_wire(self, event: LoggedEvent) -> bytes:
        head = {
            "type": event.type,
            "sequence_number": event.sequence_number,
            "interaction_id": self.interaction_id,
        }
        data = json.dumps(head | event.data, ensure_ascii=False, separators=(",", ":"))
        return format_sse_event(event=event.type, data_str=data, id=str(event.sequence_number))


class UnbufferedResponse(EventSourceResponse):
    """A stream as a response, that nobody on the way keeps back."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        """Send `chunks`, and close them when the client leaves before the end."""
        self._chunks = chunks
        unbuffered = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(chunks, headers=headers | unbuffered)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it ends or its client leaves."""
        async with aclosing(self._chunks):
            await super().__call__(scope, receive, send)


class ReplyStreamResponse(UnbufferedResponse):
    """A stream of events as a response; it tells when its client left before the end."""

    def __init__(
        self, stream: ReplyStream, headers: dict[str, str], on_departure: Callable[[], None] | None = None
    ) -> None:
        """Send `stream`, and call `on_departure` when nobody is there any more to receive its end."""
        super().__init__(stream.chunks(), headers)
        self._stream = stream
        self._on_departure = on_departure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it ends or its client leaves."""
        await super().__call__(scope, receive, send)
        if self._on_departure is not None and not self._stream.ends_with_us:
            self._on_departure()
