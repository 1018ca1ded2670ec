"""A response as a stream of server-sent events, from any of them on."""

import json
import logging
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api.streaming import ReplyStream
from api.v1.response_events import Event, ResponseEvents
from core.orchestrator.errors import OrchestratorError

logger = logging.getLogger("orchestrator.api")


class ResponseStream:
    """The events of one response for one reader."""

    def __init__(self, stream: ReplyStream, events: ResponseEvents) -> None:
        """Write down what `events` makes of `stream`."""
        self._stream = stream
        self._events = events

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the stream as it stands on the wire."""
        for chunk in _on_the_wire(self._events.begin()):
            yield chunk
        try:
            async with aclosing(self._stream.events()) as events:
                async for event in events:
                    if event is None:
                        yield KEEPALIVE_COMMENT
                        continue
                    for chunk in _on_the_wire(self._events.tell(event)):
                        yield chunk
                    if self._events.over:
                        return
            if self._stream.over or not self._stream.ends_with_us:
                return  # its reader had seen the end
            logger.info("a stream of %s ends before its time", self._stream.interaction_id)
        except OrchestratorError as error:
            logger.warning("a stream of %s broke off: %s", self._stream.interaction_id, error)
        for chunk in _on_the_wire([self._events.broken()]):
            yield chunk


def _on_the_wire(events: Iterable[Event]) -> Iterator[bytes]:
    for event in events:
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        yield format_sse_event(event=event["type"], data_str=data)
