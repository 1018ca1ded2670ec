"""From the bytes of an answer to its JSON objects: a stream of events, or the one body some servers send instead.

Framing is the business of `httpx_sse`, which splits lines as the SSE specification says: a U+2028 or NEL inside a text
ends no line.
"""

import codecs
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import httpx
from httpx_sse import EventSource

from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.classification import failure
from core.orchestrator.providers.untrusted import NOTHING, as_mapping, parse_json

_BOM = codecs.BOM_UTF8
_LONGEST_BODY = 16 * 1024 * 1024
"""Bytes of one body, or of one event."""

_LONGEST_STREAM = 128 * 1024 * 1024
"""Bytes of all events together: a quarter of a million tokens, each in an event of its own."""

_TOO_LONG = "the upstream's answer is too long to be one"

DONE: Mapping[str, Any] = {"done": True}
"""Stands for `[DONE]`, and for the end of a JSON body; compared by identity."""


async def objects_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield the JSON objects of a body, `DONE` after the last one if the server said that it was."""
    head = b""
    async for chunk in chunks:
        # Blanks keep the line alive and are no data; the first bytes that are say what kind of body this is.
        head = (head + chunk).lstrip().removeprefix(_BOM)
        if len(head) >= len(_BOM):
            break
    if head.startswith(b"<"):
        raise failure(kinds.MALFORMED, "the upstream sent markup instead of an answer")
    source = _whole(head, chunks) if head.startswith((b"{", b"[")) else _events(head, chunks)
    async with aclosing(source) as objects:
        async for found in objects:
            yield found


async def _whole(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Mapping[str, Any], None]:
    """Read one JSON body, with a sign of life for every part that is more than blanks."""
    body = bytearray(head)
    yield NOTHING
    async for chunk in chunks:
        body += chunk
        if len(body) > _LONGEST_BODY:
            raise failure(kinds.MALFORMED, _TOO_LONG)
        if not chunk.isspace():
            yield NOTHING
    completion = as_mapping(parse_json(bytes(body)))
    if not {"choices", "error"} & completion.keys():
        raise failure(kinds.MALFORMED, "the upstream sent JSON that is no chat completion")
    yield completion
    yield DONE


_BLANK_LINES = (b"\n\n", b"\r\r", b"\n\r")
"""What two line ends in a row hold, whichever of the three kinds they are, and one CRLF does not."""

_ILLEGIBLE = "the upstream sent an event that is no JSON object"


async def _events(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Mapping[str, Any], None]:
    """Read the events of an SSE stream."""
    length = _StreamLength()

    async def body() -> AsyncIterator[bytes]:
        length.add(head)
        yield head
        async for chunk in chunks:
            length.add(chunk)
            yield chunk
        # The specification drops an event that no blank line ends. A server that closes right after its last line
        # has still said everything, and half an event is no JSON, so ending it here cannot invent anything.
        yield b"\n\n"

    response = httpx.Response(httpx.codes.OK, headers={"Content-Type": "text/event-stream"}, content=body())
    illegible = False
    async with aclosing(EventSource(response).aiter_sse()) as events:
        async for event in events:
            if not event.data.strip():
                continue
            if illegible:  # and not the last event of a stream that was cut off in the middle of it
                raise failure(kinds.MALFORMED, _ILLEGIBLE)
            if event.data.strip() == "[DONE]":
                yield DONE
                return
            found = parse_json(event.data)
            illegible = not isinstance(found, dict)
            if event.event == "error" and isinstance(found, dict):
                found = {"error": found.get("error") or found}
            yield as_mapping(found)
    if illegible and length.ends_whole:
        raise failure(kinds.MALFORMED, _ILLEGIBLE)


class _StreamLength:
    """Bounds a stream: whoever splits it into events keeps all bytes since the last blank line."""

    def __init__(self) -> None:
        self._total = 0
        self._event = 0
        self._last = b""

    @property
    def ends_whole(self) -> bool:
        """Whether a blank line came last: then no event was cut off."""
        return self._event <= len(b"\n")  # the last byte of two CRLFs comes after what marks them

    def add(self, chunk: bytes) -> None:
        """Count.

        Raises:
            LLMProviderServiceError: the stream, or one event of it, is too long.
        """
        seen = self._last + chunk
        end = max(seen.rfind(blank) for blank in _BLANK_LINES)
        self._event = self._event + len(chunk) if end < 0 else len(seen) - end - len(b"\n\n")
        self._total += len(chunk)
        self._last = seen[-1:]
        if self._event > _LONGEST_BODY or self._total > _LONGEST_STREAM:
            raise failure(kinds.MALFORMED, _TOO_LONG)
