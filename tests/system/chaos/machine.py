"""A whole system that is killed bit by bit, with `kill -9`, and comes back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from standin import StandIn
from tests.harness import Process, System
from tests.postgres import PostgresServer
from tests.system.chaos.transcript import Session, Strategy
from tests.system.own_temporal import Temporal
from tests.system.stories import SHORT_HEARTBEAT, eventually, transcript

Json = dict[str, Any]


class Machine:
    """Workers, and two APIs on one database, at a Temporal that may be the machine's own.

    The database is a SQLite file, unless there is a PostgreSQL server: that is the machine's own.
    """

    def __init__(
        self,
        standin: StandIn,
        directory: Path,
        temporal: Temporal | str,
        postgres: PostgresServer | None = None,
        database_url: str = "",
    ) -> None:
        address = temporal if isinstance(temporal, str) else temporal.address
        data = {
            "DATA_DIR": str(directory / "data"),
            "DATABASE_URL": database_url,
            "LLM_COOLDOWN_AFTER_FAILURES": "0",
            **SHORT_HEARTBEAT,
        }
        self.standin = standin
        self.temporal = temporal
        self.postgres = postgres
        self.system = System(address, standin, directory, **data)
        (directory / "second").mkdir()
        queue = self.system.environment["TASK_QUEUE"]
        self._second = System(address, standin, directory / "second", **{**data, "TASK_QUEUE": queue})
        self.workers: list[Process] = []
        self._apis: list[tuple[System, Process]] = []

    @property
    def urls(self) -> list[str]:
        return [self.system.url, self._second.url]

    async def start(self, workers: int) -> None:
        fronts = (self.system, self._second)
        self._apis = list(zip(fronts, await asyncio.gather(*(one.start_api() for one in fronts)), strict=True))
        self.workers = list(await asyncio.gather(*(self.system.start_worker() for _ in range(workers))))

    async def stop(self) -> None:
        await asyncio.gather(self.system.stop(), self._second.stop())

    async def loses_a_worker(self) -> None:
        """Kill the one that has run longest."""
        await self.workers.pop(0).kill()
        self.workers.append(await self.system.start_worker())

    async def loses_an_api(self) -> None:
        """Kill the one that has run longest."""
        front, process = self._apis.pop(0)
        await process.kill()
        self._apis.append((front, await front.start_api()))

    async def loses_temporal(self) -> None:
        assert isinstance(self.temporal, Temporal)
        await self.temporal.kill()
        await self.temporal.start()

    async def loses_postgres(self) -> None:
        assert self.postgres is not None
        await self.postgres.kill()
        await self.postgres.start()

    async def session(self, session_id: str, user_id: str, strategy: Strategy = Strategy.ENQUEUE) -> Session:
        """Everything that is left of a session, once nothing of it runs any more."""

        async def has_ended() -> bool:
            views = await self._interactions(session_id, user_id)
            return all(view["status"] not in ("queued", "in_progress") for view in views)

        await eventually(has_ended, 60)
        messages = await self._pages(f"/api/sessions/{session_id}/messages", user_id=user_id)
        assert messages[:200] == await transcript(self.system, session_id)
        return Session(session_id, messages, await self._interactions(session_id, user_id), strategy)

    async def _interactions(self, session_id: str, user_id: str) -> Sequence[Json]:
        return await self._pages("/api/llm/interactions", session_id=session_id, user_id=user_id)

    async def _pages(self, path: str, **query: str) -> Sequence[Json]:
        found: list[Json] = []
        cursor: str | None = None
        while True:
            parameters = {**query, "limit": 200, **({"cursor": cursor} if cursor else {})}
            response = await self.system.client.get(path, params=parameters)
            assert response.status_code == httpx.codes.OK, response.text
            page = response.json()
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found


@asynccontextmanager
async def running(machine: Machine, workers: int) -> AsyncIterator[Machine]:
    """Run a machine during the block."""
    try:
        await machine.start(workers)
        yield machine
    finally:
        await machine.stop()
