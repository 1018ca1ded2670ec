"""Reading an OpenAI-style chat answer from a stream of bytes, for every provider that speaks this dialect.

A 200 is no success: OpenRouter sends it once an upstream provider accepts, before any token, and keeps it when that
provider then fails. So an answer counts only when it is whole (a finish_reason or `[DONE]`) and says something; all
else is an error with a posture. Framing is the business of `httpx_sse`, which splits lines as the SSE specification
says: a U+2028 or NEL inside a text ends no line.
"""

import codecs
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import httpx
from httpx_sse import EventSource

from core.orchestrator.errors import LLMProviderError
from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.base import ChatCompletion
from core.orchestrator.providers.classification import failure, from_error
from core.orchestrator.providers.failure_kinds import Kind
from core.orchestrator.providers.timing import DataTimer
from core.orchestrator.providers.untrusted import NOTHING, as_mapping, as_text, one_line, parse_json
from core.orchestrator.providers.usage import read_usage

_BOM = codecs.BOM_UTF8
_LONGEST_BODY = 16 * 1024 * 1024
_DONE: Mapping[str, Any] = {"done": True}
"""Stands for `[DONE]`, and for the end of a JSON body; compared by identity."""


async def read_chat_answer(
    chunks: AsyncIterator[bytes], timer: DataTimer
) -> AsyncGenerator[str | ChatCompletion, None]:
    """Read pieces of text, then one `ChatCompletion` whose content they are.

    Args:
        chunks: the decoded body, cut anywhere: an SSE stream, or the JSON that some servers send instead of one.
            It raises `LLMProviderError` where the connection breaks, and stays open when this iterator ends.
        timer: started when the request was.

    Raises:
        LLMProviderError: there is no whole answer.
    """
    answer = ChatAnswer()
    async with aclosing(_objects(chunks)) as objects:
        while not answer.is_done:
            try:
                async with timer.limit():
                    received = await anext(objects, None)
            except LLMProviderError:
                if answer.finish_reason is None:
                    raise
                break  # the text had ended; only usage or the closing marks are missing
            if received is None:
                break
            timer.data_seen = True
            if piece := answer.add(received):
                yield piece
    if tail := answer.end():
        yield tail
    yield answer.completion()


class ChatAnswer:
    """One answer while it arrives, in chunks of a stream or whole."""

    def __init__(self) -> None:
        self.is_done = False
        self.finish_reason: str | None = None
        self._text = _Text()
        self._refusal = ""
        self._calls_tools = False
        self._has_choices = False
        self._facts: dict[str, str] = {}
        self._usage = read_usage(None)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Take in one chunk, or a whole completion, and return the text it adds.

        Raises:
            LLMProviderError: the chunk reports an error.
        """
        if chunk is _DONE:
            self.is_done = True
            return ""
        choices = chunk.get("choices")
        choice = as_mapping(choices[0]) if isinstance(choices, list) and choices else NOTHING
        if error := chunk.get("error") or choice.get("error"):
            raise from_error(error, http_status=httpx.codes.OK, output_seen=bool(self._text))
        for name in ("id", "model", "provider"):
            if value := as_text(chunk.get(name)):
                self._facts[name] = value
        # Counted once: the last report stands, in whichever of three shapes it came, and however often.
        self._usage = read_usage(chunk.get("usage")) or self._usage
        if not choice:
            return ""
        self._has_choices = True
        self.finish_reason = as_text(choice.get("finish_reason")) or self.finish_reason
        message = as_mapping(choice.get("delta")) or as_mapping(choice.get("message"))
        self._calls_tools |= bool(message.get("tool_calls") or message.get("function_call"))
        self._refusal += as_text(message.get("refusal")) or ""
        return self._text.add(_text_of(message.get("content")))

    def end(self) -> str:
        """Return the last text, which only the end shows to be complete. A refusal that stands alone is the answer."""
        tail = self._text.end()
        if self._has_ended and not self._text and self._refusal.strip():
            self.finish_reason = "content_filter"
            tail = self._text.add(self._refusal)
        return tail

    def completion(self) -> ChatCompletion:
        """Return the whole answer.

        Raises:
            LLMProviderError: it is cut off, empty, or was ended by an error that nobody described.
        """
        if missing := self._what_is_missing():
            kind, message = missing
            known_free = self._usage is not None and self._usage.cost_usd == 0
            raise failure(kind, message, http_status=httpx.codes.OK, known_free=known_free)
        return ChatCompletion(
            content=str(self._text),
            model=self._facts.get("model"),
            upstream_provider=self._facts.get("provider"),
            finish_reason=self.finish_reason,
            usage=self._usage,
            generation_id=self._facts.get("id"),
        )

    @property
    def _has_ended(self) -> bool:
        return self.is_done or self.finish_reason is not None

    def _what_is_missing(self) -> tuple[Kind, str] | None:
        if not self._has_ended:
            return kinds.TRUNCATED, "the answer ended without a finish_reason"
        if self.finish_reason == "error":
            return kinds.SERVER_ERROR, "the upstream ended the answer with an error it did not describe"
        if not self._has_choices:
            return kinds.EMPTY, "the upstream sent an answer without choices"
        if self._text or self._calls_tools:
            return None
        said_nothing = (
            kinds.EMPTY,
            f"the upstream sent an empty answer (finish_reason {one_line(self.finish_reason, 40)})",
        )
        return _WHY_SILENT.get(self.finish_reason or "", said_nothing)


_WHY_SILENT = {
    "length": (kinds.OUTPUT_LIMIT, "max_tokens was used up before the first word of the answer: raise it"),
    "content_filter": (kinds.UNWILLING, "the upstream withheld the answer (content_filter)"),
}
"""An answer without text, by its finish_reason; after any other it is a failure of the upstream (a cold start)."""


class _Text:
    """Text that arrives in pieces, made safe for every encoder and database on its way.

    JSON may escape a character outside the BMP as two surrogates, and an upstream may cut between them: the first
    half waits for the second. What stays alone becomes U+FFFD. NUL, which PostgreSQL refuses, is dropped.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._joiner = codecs.getincrementaldecoder("utf-16-le")("replace")

    def add(self, piece: str) -> str:
        return self._keep(self._joiner.decode(piece.encode("utf-16-le", "surrogatepass")))

    def end(self) -> str:
        return self._keep(self._joiner.decode(b"", final=True))

    def _keep(self, piece: str) -> str:
        piece = piece.replace("\0", "")
        if piece:
            self._pieces.append(piece)
        return piece

    def __bool__(self) -> bool:
        return any(not piece.isspace() for piece in self._pieces)

    def __str__(self) -> str:
        return "".join(self._pieces)


def _text_of(content: object) -> str:
    """Return the text of a message's content: a string, or the list of parts some upstreams answer with."""
    if isinstance(content, list):
        return "".join(_text_of(as_mapping(part).get("text")) for part in content)
    return content if isinstance(content, str) else ""


async def _objects(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield the JSON objects of a body, `_DONE` after the last one if the server said that it was."""
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
            raise failure(kinds.MALFORMED, "the upstream's answer is too long to be one")
        if not chunk.isspace():
            yield NOTHING
    completion = as_mapping(parse_json(bytes(body)))
    if not {"choices", "error"} & completion.keys():
        raise failure(kinds.MALFORMED, "the upstream sent JSON that is no chat completion")
    yield completion
    yield _DONE


async def _events(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Mapping[str, Any], None]:
    """Read the events of an SSE stream."""

    async def body() -> AsyncIterator[bytes]:
        yield head
        async for chunk in chunks:
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
                raise failure(kinds.MALFORMED, "the upstream sent an event that is no JSON object")
            if event.data.strip() == "[DONE]":
                yield _DONE
                return
            found = parse_json(event.data)
            illegible = not isinstance(found, dict)
            if event.event == "error" and isinstance(found, dict):
                found = {"error": found.get("error") or found}
            yield as_mapping(found)
