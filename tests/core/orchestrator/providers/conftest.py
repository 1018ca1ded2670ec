"""A scripted upstream over real sockets: every byte, pause and reset of an answer is the test's to choose."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from typing import Any

import pytest
from pydantic import SecretStr

from core.orchestrator.contracts import Message
from core.orchestrator.errors import LLMProviderError
from core.orchestrator.providers.base import CallAccepted, ChatCompletion, LLMProvider
from core.orchestrator.providers.chat_stream import read_chat_answer
from core.orchestrator.providers.openrouter import OpenRouterProvider
from core.orchestrator.providers.redaction import Redactor
from core.orchestrator.providers.timing import DataTimer

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
HELLO: list[Message] = [{"role": "user", "content": "hello"}]


class Step(Enum):
    """What a script can do besides sending bytes (`bytes`) and waiting (`float`, seconds)."""

    RESET = auto()
    """Break the connection off."""
    HANG = auto()
    """Say nothing more until the client goes away."""
    KEEP_OPEN = auto()
    """The answer has an end of its own: wait for the next request."""


Script = list[bytes | float | Step]


@dataclass
class Request:
    head: str
    body: dict[str, object]

    @property
    def headers(self) -> dict[str, str]:
        lines = (line.partition(": ") for line in self.head.splitlines()[1:])
        return {name.lower(): value for name, _, value in lines if name}


@dataclass
class Upstream:
    """Answers one script per request; without any left, it hangs up."""

    port: int = 0
    connections: int = 0
    most_at_once: int = 0
    requests: list[Request] = field(default_factory=list)
    request_came: asyncio.Event = field(default_factory=asyncio.Event)
    client_left: asyncio.Event = field(default_factory=asyncio.Event)
    _open: int = 0
    _scripts: deque[Script] = field(default_factory=deque)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    def answers(self, *script: bytes | float | Step) -> None:
        self._scripts.append(list(script))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            self.client_left.set()
        self._open -= 1
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = (line.partition(":") for line in head.lower().splitlines())
        length = next((int(value) for name, _, value in lines if name == "content-length"), 0)
        body = await reader.readexactly(length)
        self.requests.append(Request(head, json.loads(body or b"{}")))
        self.request_came.set()
        for step in self._scripts.popleft() if self._scripts else []:
            match step:
                case bytes():
                    writer.write(step)
                    await writer.drain()
                case float():
                    await asyncio.sleep(step)
                case Step.RESET:
                    writer.transport.abort()
                    return False
                case Step.HANG:
                    await reader.read()
                    self.client_left.set()
                case Step.KEEP_OPEN:
                    return True
        return False


@asynccontextmanager
async def listening() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=1000)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with listening() as server:
        yield server


def provider_for(url: str, *, first: float = 5, stall: float = 5, key: str | None = KEY) -> OpenRouterProvider:
    return OpenRouterProvider(
        api_key=SecretStr(key) if key is not None else None,
        base_url=url,
        default_model="maker/model",
        first_token_timeout=timedelta(seconds=first),
        stall_timeout=timedelta(seconds=stall),
    )


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[OpenRouterProvider]:
    made = provider_for(upstream.url)
    yield made
    await made.aclose()


@pytest.fixture
async def hasty_provider(upstream: Upstream) -> AsyncIterator[OpenRouterProvider]:
    """Waits 0.15 s for the first data and 0.1 s for more."""
    made = provider_for(upstream.url, first=0.15, stall=0.1)
    yield made
    await made.aclose()


def head(status: str = "200 OK", content_type: str = "text/event-stream", **headers: str) -> bytes:
    """Return the head of an answer that the end of the connection ends."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def json_answer(payload: object, status: str = "200 OK", **headers: str) -> bytes:
    return head(status, "application/json", **headers) + json.dumps(payload).encode()


def event(payload: object) -> bytes:
    return b"data: " + (payload if isinstance(payload, bytes) else json.dumps(payload).encode()) + b"\n\n"


def delta(content: str = "", finish_reason: str | None = None, **fields: object) -> dict[str, object]:
    """Return a chunk of a stream, as OpenRouter sends it."""
    return {
        "id": "gen-1",
        "provider": "Maker",
        "model": "maker/model-2",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": finish_reason}],
        **fields,
    }


DONE = event(b"[DONE]")


@dataclass
class Told:
    """What a provider told of one call, in the order in which it may."""

    accepted: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    completion: ChatCompletion | None = None

    async def listen(self, provider: LLMProvider, model: str | None = None, **parameters: Any) -> None:
        async for piece in provider.stream_chat_completion(HELLO, model, parameters=parameters):
            assert self.completion is None, "something came after the completion"
            match piece:
                case ChatCompletion():
                    self.completion = piece
                case CallAccepted():
                    self.accepted.append(piece.generation_id)
                case _:
                    assert piece
                    self.pieces.append(piece)


def leaks(text: str) -> bool:
    """Whether a text gives an identifying part of the key away."""
    return any(KEY[start : start + 8] in text for start in range(len(KEY) - 7))


async def collect(
    provider: LLMProvider, model: str | None = None, **parameters: Any
) -> tuple[list[str], ChatCompletion]:
    """Return the pieces and the completion of one call; the pieces must be the completion."""
    told = Told()
    await told.listen(provider, model, **parameters)
    assert told.completion is not None
    assert "".join(told.pieces) == told.completion.content
    assert told.accepted == list(filter(None, [told.completion.generation_id]))
    return told.pieces, told.completion


async def failure_of(provider: LLMProvider, model: str | None = None, **parameters: Any) -> LLMProviderError:
    with pytest.raises(LLMProviderError) as caught:
        await collect(provider, model, **parameters)
    return caught.value


async def read_bytes(
    chunks: list[bytes], key: str = KEY, *, with_tools: bool = False
) -> list[str | CallAccepted | ChatCompletion]:
    """Read an answer from memory, cut exactly so."""

    async def source() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    timer = DataTimer(timedelta(seconds=5), timedelta(seconds=5))
    answer = read_chat_answer(source(), timer, redactor=Redactor(key), with_tools=with_tools)
    return [piece async for piece in answer]
