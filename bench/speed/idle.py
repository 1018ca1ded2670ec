"""What it costs that hundreds watch replies which do not go on: memory, and everybody else's latency."""

import asyncio
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from bench.speed.asking import Asker, Findings, Loop
from bench.speed.field import Contender, Field
from bench.speed.rounds import Referee
from bench.speed.targets import Target
from bench.speed.upstream import HELD_MODEL, message_with, reply_to

STREAMS = 500
_HELD = 20
_MOST_MEBIBYTES = 60
_MOST_MS = 5
"""What the median of so few requests differs by when nothing has changed."""
_WARM_UP_SECONDS = 5
_OPEN_SECONDS = 10
"""A call that says nothing for 20 seconds is given up: by then all must be measured."""


@dataclass(frozen=True)
class Idle:
    """What was found."""

    streams: int
    mebibytes: float
    """More than before."""
    before_ms: float
    while_ms: float
    after_ms: float
    """The median of plain requests, one by one."""

    def targets(self) -> list[Target]:
        """Return what is to hold of it."""
        more = self.while_ms - (self.before_ms + self.after_ms) / 2
        return [
            Target(f"MiB of {self.streams} idle streams", self.mebibytes, _MOST_MEBIBYTES),
            Target(f"ms more while {self.streams} streams idle", more, _MOST_MS),
        ]


async def idle_streams(referee: Referee, field: Field, ours: Contender, asker: Asker) -> Idle:
    """Have calls held by the upstream, and each of them watched by many."""
    async with Loop(asker, referee.clients).running():  # its memory is then what it is after some work
        await asyncio.sleep(_WARM_UP_SECONDS)
    await ours.tree.settle()
    before = await referee.sequential(ours, asker)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as http:
        held = await asyncio.gather(*(_held(http, ours.url) for _ in range(_HELD)))
        await ours.tree.settle()
        quiet = ours.tree.mebibytes
        async with asyncio.TaskGroup() as tasks:
            watchers = [_Watcher(http, ours, *held[number % _HELD]) for number in range(STREAMS)]
            for watcher in watchers:
                tasks.create_task(watcher.watch(ours.findings))
            try:
                async with asyncio.timeout(_OPEN_SECONDS):
                    await asyncio.gather(*(watcher.began.wait() for watcher in watchers))
                await ours.tree.settle()
                mebibytes = ours.tree.mebibytes - quiet
                during = await referee.sequential(ours, asker)
            finally:
                async with http.post(f"{field.upstream.url}/release"):
                    pass
    await ours.tree.settle()
    after = await referee.sequential(ours, asker)
    return Idle(STREAMS, mebibytes, before.p50_ms, during.p50_ms, after.p50_ms)


async def _held(http: aiohttp.ClientSession, url: str) -> tuple[str, str]:
    nonce, who = secrets.token_hex(8), secrets.token_hex(6)
    body = {"message": message_with(nonce), "user_id": f"user-{who}", "session_id": f"session-{who}"}
    how = {"model": HELD_MODEL, "fallback_models": [], "background": True}
    async with http.post(f"{url}/api/llm/interact", json={**body, **how}) as response:
        return (await response.json())["interaction_id"], nonce


class _Watcher:
    """One who watches a reply to its end."""

    def __init__(self, http: aiohttp.ClientSession, ours: Contender, interaction_id: str, nonce: str) -> None:
        self._http = http
        self._url = f"{ours.url}/api/llm/interactions/{interaction_id}/stream"
        self._expected = reply_to(nonce)
        self.began = asyncio.Event()

    async def watch(self, findings: Findings) -> None:
        said = ""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._http.get(self._url) as response:
                async for line in response.content:
                    event = json.loads(line[6:]) if line.startswith(b"data: {") else {"type": "none"}
                    if event["type"] == "text.delta":
                        said += event["delta"]
                        self.began.set()
                    elif event["type"] == "text.reset":
                        said = ""
        self.began.set()
        if said != self._expected:
            findings.add(f"{self._url} said {said!r}")
