"""Asking a contender and checking what it says: every message has a nonce of its own, and one right answer."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.speed.upstream import message_with, reply_to

Json = dict[str, Any]

_TIMEOUT = aiohttp.ClientTimeout(total=60)
_TURNS = 10
"""Of a session, before another one is begun."""
_MOST_FINDINGS = 20
_LONGEST_FINDING = 300
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError)
"""What asking raises, and reading what is no answer."""


@dataclass(frozen=True)
class Shape:
    """How a contender is asked, and where its answer stands."""

    path: str
    body: Callable[[str, str, str], Json]
    """Of message, user and session."""
    reply: Callable[[Json], object]
    piece: Callable[[Json], str] | None = None
    """The text in one event of a stream; None where there are no streams."""


def _chat(message: str, user: str, _: str) -> Json:
    messages = [{"role": "user", "content": message}]
    return {"model": "openai/gpt-3.5-turbo", "user": user, "messages": messages}


def _chat_reply(answer: Json) -> object:
    return answer["choices"][0]["message"]["content"]


def _chat_piece(event: Json) -> str:
    choices = event.get("choices")
    return (choices[0]["delta"].get("content") or "") if choices else ""


def _interaction(message: str, user: str, session: str) -> Json:
    return {"message": message, "user_id": user, "session_id": session}


def _interaction_piece(event: Json) -> str:
    return str(event["delta"]) if event["type"] == "text.delta" else ""


UPSTREAM = Shape("/api/v1/chat/completions", _chat, _chat_reply, _chat_piece)
OPENAI = Shape("/v1/chat/completions", _chat, _chat_reply, _chat_piece)
MINIMAL = Shape("/interact", _interaction, lambda answer: answer["message"])
OURS = Shape("/api/llm/interact", _interaction, lambda answer: answer["message"], _interaction_piece)


@dataclass
class Findings:
    """Replies that were not the right ones."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    """In words."""

    def add(self, what: str) -> None:
        """Take note of one."""
        self.count += 1
        if len(self.first) < _MOST_FINDINGS:
            self.first.append(what)

    def take(self, others: "Findings") -> None:
        """Take note of those of somebody else."""
        self.count += others.count
        self.first += others.first[: _MOST_FINDINGS - len(self.first)]


class Asker:
    """Asks one contender."""

    def __init__(self, http: aiohttp.ClientSession, url: str, shape: Shape, findings: Findings) -> None:
        """Ask at `url`, and tell `findings` of every reply that is not the right one."""
        self._http = http
        self._url = f"{url}{shape.path}"
        self._shape = shape
        self._findings = findings

    async def ask(self, user: str, session: str) -> float | None:
        """Return the seconds that the right answer took; None: there was none."""
        answered = await self.answer(user, session)
        return answered and answered[0]

    async def answer(self, user: str, session: str) -> tuple[float, Json] | None:
        """Return the seconds that the right answer took, and all of it; None: there was none."""
        nonce = secrets.token_hex(8)
        body = self._shape.body(message_with(nonce), user, session)
        began, text = time.perf_counter(), b""
        try:
            async with self._http.post(self._url, json=body) as response:
                text = await response.read()
            took = time.perf_counter() - began
            answer = json.loads(text)
            said = self._shape.reply(answer)
        except _NO_ANSWER as error:
            self._findings.add(f"{self._url}: {type(error).__name__} {error} {text!r}"[:_LONGEST_FINDING])
            return None
        return (took, answer) if self._is_right(said, nonce) else None

    async def first_piece(self, user: str, session: str) -> float | None:
        """Return the seconds until the first piece of a streamed reply, which is read to its end."""
        piece_of = self._shape.piece or (lambda _: "")
        nonce, said, first = secrets.token_hex(8), "", None
        body = {**self._shape.body(message_with(nonce), user, session), "stream": True}
        began = time.perf_counter()
        try:
            async with self._http.post(self._url, json=body) as response:
                async for line in response.content:
                    if line.startswith(b"data: {") and (piece := piece_of(json.loads(line[6:]))):
                        first = first or time.perf_counter() - began
                        said += piece
        except _NO_ANSWER as error:
            self._findings.add(f"{self._url}, streamed: {type(error).__name__}: {error}"[:_LONGEST_FINDING])
            return None
        return first if self._is_right(said, nonce) else None

    def _is_right(self, said: object, nonce: str) -> bool:
        if said == reply_to(nonce):
            return True
        self._findings.add(f"{self._url} answered nonce:{nonce} with {said!r}"[:_LONGEST_FINDING])
        return False


@asynccontextmanager
async def asking(url: str, shape: Shape, findings: Findings, key: str | None = None) -> AsyncIterator[Asker]:
    """Yield who asks a contender, with as many connections as it takes, and with a key where one is asked for."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector, headers=headers) as http:
        yield Asker(http, url, shape, findings)


Ask = Callable[[str, str], Awaitable[float | None]]
"""Asks in a user's session, and returns the seconds it took."""


async def one_by_one(ask: Ask, count: int, of: tuple[str, str] | None = None) -> list[float]:
    """Ask so many times, each when the one before is answered; in ordinary sessions, or in `of`."""
    user, session = of or (f"user-{secrets.token_hex(4)}", "")
    times = list[float | None]()
    for number in range(count):
        if of is None and number % _TURNS == 0:
            session = f"session-{secrets.token_hex(6)}"
        times.append(await ask(user, session))
    return [took for took in times if took is not None]


class Loop:
    """A closed loop: so many clients, each of which asks again as soon as it is answered."""

    def __init__(self, asker: Asker, clients: int) -> None:
        """Begin with `running`."""
        self._asker = asker
        self._clients = clients
        self._over = False
        self.answered: list[tuple[float, float]] = []
        """When by the monotonic clock, and after how many seconds."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Loop"]:
        """Ask during the block; what is asked at its end is still answered."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._clients):
                tasks.create_task(self._client())
            try:
                yield self
            finally:
                self._over = True

    def times_between(self, begin: float, end: float) -> Sequence[float]:
        """Return the seconds of what was answered in a span of the monotonic clock."""
        return [took for at, took in self.answered if begin <= at < end]

    def answered_between(self, begin: float, end: float) -> float:
        """Return how many were answered in a span, once all are: one that lies partly within it counts for that part.

        Clients that began together come in waves; whole ones would be counted by chance once more or less.
        """
        parts = ((min(at, end) - max(at - took, begin)) / took for at, took in self.answered)
        return sum(part for part in parts if part > 0)

    async def _client(self) -> None:
        user = f"user-{secrets.token_hex(4)}"
        while not self._over:
            session = f"session-{secrets.token_hex(6)}"
            for _ in range(_TURNS):
                took = await self._asker.ask(user, session)
                if took is not None:
                    self.answered.append((time.monotonic(), took))
                else:
                    await asyncio.sleep(0.1)
                if self._over:
                    return
