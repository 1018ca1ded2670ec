"""A whole system on 127.0.0.1, in processes of its own, for as long as a run takes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psutil

from core.orchestrator.config import Settings
from embedded.children import Children
from embedded.temporal_server import HOST, start_temporal
from standin import StandIn
from tests.harness import Process, System, free_port
from tests.postgres import PostgresServer


@dataclass(frozen=True)
class Plan:
    """What is to run."""

    apis: int = 1
    workers: int = 1
    postgres: bool = False
    """Rather than SQLite."""
    model_seconds: str = "1-3"
    settings: Mapping[str, str] | None = None
    """Of the APIs and workers."""


@dataclass(frozen=True)
class Machine:
    """What runs."""

    urls: list[str]
    """Of the APIs."""
    pids: dict[str, int]
    control_url: str
    """Where the stand-in is looked into."""

    async def upstream_calls(self) -> int:
        """Return how many calls to models there were."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.control_url}/bill") as response:
            calls: int = (await response.json())["total_calls"]
            return calls

    async def stored(self) -> tuple[int, int]:
        """Return how many interactions, and how many calls to models, the service has on record."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.urls[0]}/api/usage") as response:
            total = (await response.json())["total"]
            return total["interactions"], total["calls"]


@asynccontextmanager
async def running(plan: Plan, directory: Path) -> AsyncIterator[Machine]:
    """Run a system during the block; `directory` gets its databases and logs."""
    async with AsyncExitStack() as stack:
        settings = {"DATA_DIR": str(directory / "data"), **(plan.settings or {})}
        pids: dict[str, int] = {}
        if plan.postgres:
            server = PostgresServer()
            stack.push_async_callback(server.end)
            pids["postgres"] = await _pid_of(server.start())
            settings["DATABASE_URL"] = await server.migrated()
        children = Children(directory)
        stack.push_async_callback(children.stop)
        own = Settings(_env_file=None, DATA_DIR=directory, TEMPORAL_PORT=free_port(), TEMPORAL_UI_PORT=free_port())
        pids["temporal"] = await _pid_of(start_temporal(own, children))
        standin = await _upstream(plan, directory, stack, pids)
        # Those who share a task queue are one service.
        settings["TASK_QUEUE"] = "soak"
        fronts = []
        for number in range(plan.apis):
            folder = directory / f"api-{number}"
            folder.mkdir()
            front = System(f"{HOST}:{own.TEMPORAL_PORT}", standin, folder, forked=False, **settings)
            stack.push_async_callback(front.stop)
            fronts.append(front)
        starts = {f"api {number}": front.start_api() for number, front in enumerate(fronts, start=1)}
        starts |= {f"worker {number}": fronts[0].start_worker() for number in range(1, plan.workers + 1)}
        for name, process in zip(starts, await asyncio.gather(*starts.values()), strict=True):
            pids[name] = process.pid
        yield Machine([front.url for front in fronts], pids, standin.control_url)


async def _upstream(plan: Plan, directory: Path, stack: AsyncExitStack, pids: dict[str, int]) -> StandIn:
    """Start the stand-in, and return what knows its addresses."""
    command = [sys.executable, "-m", "bench.upstream", "--seconds", plan.model_seconds]
    process = await Process.start(command, directory / "upstream.log", {})
    stack.push_async_callback(process.kill)
    await process.until_output("ready: ")
    pids["stand-in"] = process.pid
    url = urlsplit(process.output.partition("ready: ")[2].strip())
    return StandIn(port=url.port or 0)


async def _pid_of(start: Awaitable[object]) -> int:
    """Await the start of one child, and return its pid."""
    us = psutil.Process()
    before = {child.pid for child in us.children()}
    await start
    (pid,) = {child.pid for child in us.children()} - before
    return pid
