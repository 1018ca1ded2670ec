"""A closed loop: so many people talk at a time, each in one session after another, and believe nobody.

A message has a text of its own, and the stand-in's reply says which message it answers, how many came before and which
was the last of them. So each reply shows by itself that it is nobody else's, and that nothing before it was lost,
doubled or out of order. When a session is over, what the service has stored of it is held against what was said.
"""

import asyncio
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import aiohttp

from bench.upstream import first_token_seconds, model_seconds

Json = dict[str, Any]

_CHANCE = random.Random()  # noqa: S311 - a load, and no secret
_TIMEOUT = aiohttp.ClientTimeout(total=120)
_MOST_TURNS = 8
_REPEATED = 0.1
"""The part of all messages that are sent twice under one key: half of them at once, half after the reply."""
_GIVE_UP_AFTER = 50
_LONGEST_PAUSE = 2.0
_FAILURE_PAUSE = 0.5
_MOST_FINDINGS = 20


class Way(StrEnum):
    """How somebody wants the reply."""

    WAIT = "wait"
    STREAM = "stream"
    BACKGROUND = "background"


@dataclass
class Tally:
    """What was seen."""

    seconds: dict[Way, list[float]] = field(default_factory=lambda: {way: [] for way in Way})
    """From a request to the whole reply."""
    own: list[float] = field(default_factory=list)
    """The same without the model's time."""
    own_first: list[float] = field(default_factory=list)
    """From a request to the first piece of text, without the model's time for it."""
    replies: int = 0
    repeats: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Requests that were told to come back later: nothing of them was accepted."""
    errors: Counter[str] = field(default_factory=Counter)
    sessions: int = 0
    findings: list[str] = field(default_factory=list)
    """What should not be; the first ones in words."""
    wrong: int = 0
    """How many there are."""

    def finds(self, what: str) -> None:
        """Take note of something that should not be."""
        self.wrong += 1
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(what)


@dataclass(frozen=True)
class _Turn:
    text: str
    interaction_id: str
    reply: str


class _TryAgainError(Exception):
    def __init__(self, pause: float) -> None:
        self.pause = pause


@dataclass
class Talker:
    """Somebody who talks without a pause."""

    http: aiohttp.ClientSession
    urls: Sequence[str]
    tally: Tally
    name: str
    model_range: tuple[float, float]

    async def talk(self, over: asyncio.Event) -> None:
        """Hold one session after another until it is over; the last turn is heard to its end."""
        while not over.is_set():
            await self.talk_once(_CHANCE.randint(1, _MOST_TURNS), over)

    async def talk_once(self, turns: int, over: asyncio.Event | None = None) -> None:
        """Hold one session of so many turns, or of fewer if it is over by then, and look back at it."""
        session, said = f"{self.name}-{secrets.token_hex(4)}", list[_Turn]()
        while len(said) < turns and not (said and over and over.is_set()):
            turn = await self._say(session, said)
            if turn is None:
                return
            said.append(turn)
        await self._look_back(session, said)
        self.tally.sessions += 1

    async def _say(self, session: str, before: Sequence[_Turn]) -> _Turn | None:
        text = f"{session} {len(before) + 1} {secrets.token_hex(6)}"
        way, chance = _CHANCE.choice(list(Way)), _CHANCE.random()
        body = {"message": text, "user_id": self.name, "session_id": session}
        key = {"Idempotency-Key": secrets.token_hex(16)}
        views = await asyncio.gather(*[self._heard(way, body, key)] * (2 if chance < _REPEATED / 2 else 1))
        if _REPEATED / 2 <= chance < _REPEATED:
            views.append(await self._heard(way, body, key, measured=False))
        self.tally.repeats += len(views) - 1
        if None in views:
            self.tally.finds(f"no answer to {text!r}")
            return None
        answers = {(view["interaction_id"], view["status"], view["message"]) for view in views if view}
        if len(answers) > 1:
            self.tally.finds(f"{text!r} was answered in several ways: {answers}")
        interaction_id, status, reply = answers.pop()
        self.tally.replies += 1
        if status != "completed" or not _answers(reply or "", text, before):
            self.tally.finds(f"{text!r} got {status} {reply!r}")
        return _Turn(text, interaction_id, reply or "")

    async def _heard(self, way: Way, body: Json, key: dict[str, str], *, measured: bool = True) -> Json | None:
        """Send a message as often as it takes; None where the service would not have it."""
        for _ in range(_GIVE_UP_AFTER):
            began = time.monotonic()
            try:
                view = await self._ask(way, body, key, began if measured else None)
            except _TryAgainError as again:
                await asyncio.sleep(again.pause)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.tally.errors[type(error).__name__] += 1
                await asyncio.sleep(_FAILURE_PAUSE)
            else:
                if measured:
                    took = time.monotonic() - began
                    self.tally.seconds[way].append(took)
                    self.tally.own.append(took - model_seconds(body["message"], *self.model_range))
                return view
        return None

    async def _ask(self, way: Way, body: Json, key: dict[str, str], began: float | None) -> Json:
        how = {Way.WAIT: {}, Way.STREAM: {"stream": True}, Way.BACKGROUND: {"background": True}}[way]
        url = _CHANCE.choice(self.urls)
        async with self.http.post(f"{url}/api/llm/interact", json={**body, **how}, headers=key) as response:
            await self._check(response)
            if way is Way.STREAM:
                return await self._watch(response, body["message"], began)
            view: Json = await response.json()
        while way is Way.BACKGROUND and ("message" not in view or view["status"] in ("queued", "in_progress")):
            other = f"{_CHANCE.choice(self.urls)}/api/llm/interactions/{view['interaction_id']}"
            async with self.http.get(other, params={"wait": 20}) as response:
                await self._check(response)
                view = await response.json()
        return view

    async def _watch(self, response: aiohttp.ClientResponse, text: str, began: float | None) -> Json:
        said = ""
        async for line in response.content:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line[5:])
            match event["type"]:
                case "text.delta":
                    if not said and began is not None:
                        waited = time.monotonic() - began
                        self.tally.own_first.append(waited - first_token_seconds(text, *self.model_range))
                    said += event["delta"]
                case "text.reset":
                    said = ""
            if "response" in event:
                view: Json = event["response"]
                if view["message"] != said:
                    self.tally.finds(f"the stream of {text!r} said {said!r}")
                return view
        self.tally.errors["stream ended early"] += 1
        raise _TryAgainError(_FAILURE_PAUSE)

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        """Return if the service accepted a request.

        Raises:
            _TryAgainError: it did not.
        """
        if response.ok:
            return
        later = response.headers.get("Retry-After")
        if response.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE) and later:
            self.tally.refused[str(response.status)] += 1
            raise _TryAgainError(_CHANCE.uniform(0.5, 1) * min(float(later), _LONGEST_PAUSE))
        self.tally.errors[f"{response.status}: {(await response.text())[:200]}"] += 1
        raise _TryAgainError(_FAILURE_PAUSE)

    async def _look_back(self, session: str, turns: Sequence[_Turn]) -> None:
        """Hold what is stored of a session against what was said in it."""
        of = {"user_id": self.name, "limit": "200"}
        messages = await self._items(f"/api/sessions/{session}/messages", of)
        told = [(message["sequence"], message["role"], message["content"]) for message in messages]
        texts = [(role, text) for turn in turns for role, text in (("user", turn.text), ("assistant", turn.reply))]
        if told != [(number, role, text) for number, (role, text) in enumerate(texts, start=1)]:
            self.tally.finds(f"{session} is stored as {told}")
        views = await self._items("/api/llm/interactions", {**of, "session_id": session})
        if sorted(view["interaction_id"] for view in views) != sorted(turn.interaction_id for turn in turns):
            self.tally.finds(f"{session} has {len(views)} interactions for {len(turns)} messages")
        for view in views:
            if [attempt["status"] for attempt in view["attempts"]] != ["succeeded"]:
                self.tally.finds(f"{view['interaction_id']} was asked in {len(view['attempts'])} attempts")

    async def _items(self, path: str, query: dict[str, str]) -> list[Json]:
        for _ in range(_GIVE_UP_AFTER):
            try:
                async with self.http.get(f"{_CHANCE.choice(self.urls)}{path}", params=query) as response:
                    await self._check(response)
                    items: list[Json] = (await response.json())["items"]
                    return items
            except _TryAgainError as again:
                await asyncio.sleep(again.pause)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.tally.errors[type(error).__name__] += 1
                await asyncio.sleep(_FAILURE_PAUSE)
        self.tally.finds(f"{path} cannot be read")
        return []


def _answers(reply: str, text: str, before: Sequence[_Turn]) -> bool:
    """Return whether a reply of the stand-in is the one to a message, given after just those before it."""
    count = 2 * len(before)
    said = [f'You said: "{text}".', f"I remember {count} earlier messages."]
    said += [f'Before that you said: "{before[-1].text}".'] if before else []
    return reply.endswith(" ".join(said))


async def load(
    urls: Sequence[str], tally: Tally, *, talkers: int, over: asyncio.Event, model_range: tuple[float, float]
) -> None:
    """Let so many talk at a time until it is over."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector) as http, asyncio.TaskGroup() as tasks:
        for number in range(talkers):
            talker = Talker(http, urls, tally, f"soak-{secrets.token_hex(3)}-{number}", model_range)
            tasks.create_task(talker.talk(over))
