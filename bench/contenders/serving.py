"""What the plainer ways share: how they are started, how they ask the model, how they keep rows, how they serve.

They ask the upstream through the service's own provider, and serve as its API does. So what is compared is what lies
between: durability, not HTTP.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiosqlite
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, SecretStr

from core.orchestrator.processes import leave, run_process, stop_requested
from core.orchestrator.providers.openrouter import OpenRouterProvider

HOST = "127.0.0.1"
_REMEMBERED = 10


@dataclass(frozen=True)
class Options:
    """What the command line of such a program says."""

    port: int
    upstream: str
    directory: Path
    temporal_port: int
    ui_port: int
    default_flags: bool
    """Temporal's own flags, rather than the service's."""
    local_steps: int
    """How many local activities that do nothing the floor has besides."""


class Message(BaseModel):
    """What somebody says."""

    message: str
    user_id: str
    session_id: str


class Reply(BaseModel):
    """What is said to it."""

    message: str


class Model:
    """The upstream."""

    def __init__(self, base_url: str) -> None:
        """Ask what answers at `base_url`."""
        self._provider = OpenRouterProvider(
            api_key=SecretStr("sk-or-bench"),
            base_url=base_url,
            default_model="openai/gpt-3.5-turbo",
            first_token_timeout=timedelta(seconds=30),
            stall_timeout=timedelta(seconds=20),
        )

    async def answer(self, message: str) -> str:
        """Return the reply to a message."""
        return (await self._provider.generate_chat_completion([{"role": "user", "content": message}])).content

    async def aclose(self) -> None:
        """Close the connections."""
        await self._provider.aclose()


class Rows:
    """A table of who said what, as a first version keeps it: one connection, one transaction after the other."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        """Use `kept_in` to build one."""
        self._connection = connection
        self._turn = asyncio.Lock()

    async def add(self, session_id: str, role: str, content: str) -> Sequence[str]:
        """Keep one row, and return the session's newest ones: one transaction."""
        async with self._turn:
            await self._connection.execute("BEGIN IMMEDIATE")
            await self._connection.execute("INSERT INTO said VALUES (?, ?, ?)", (session_id, role, content))
            newest = "SELECT content FROM said WHERE session_id = ? ORDER BY rowid DESC LIMIT ?"
            rows = await self._connection.execute_fetchall(newest, (session_id, _REMEMBERED))
            await self._connection.commit()
        return [str(row[0]) for row in rows]


@asynccontextmanager
async def kept_in(directory: Path) -> AsyncIterator[Rows]:
    """Keep rows in a file there, as safe from a power cut as the service's."""
    async with aiosqlite.connect(directory / "said.db", isolation_level=None) as connection:
        for statement in (
            "PRAGMA journal_mode=wal",
            "PRAGMA synchronous=full",
            "CREATE TABLE said (session_id TEXT, role TEXT, content TEXT)",
            "CREATE INDEX ix_said ON said (session_id)",
        ):
            await connection.execute(statement)
        yield Rows(connection)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`: there is a worker to stop as well."""
        yield


async def serve(answer: Callable[[Message], Awaitable[str]], port: int) -> None:
    """Answer messages at `/interact` until SIGTERM, set up as the service's API is."""
    app = FastAPI()

    @app.post("/interact")
    async def interact(message: Message) -> Reply:
        return Reply(message=await answer(message))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    config = uvicorn.Config(
        app,
        host=HOST,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    stop, server = stop_requested(), _Server(config)
    serving = asyncio.create_task(server.serve())
    serving.add_done_callback(lambda _: stop.set())  # its port may be taken
    await stop.wait()
    server.should_exit = True
    await serving


def main(name: str, description: str | None, run: Callable[[Options], Coroutine[Any, Any, None]]) -> None:
    """Run a contender as its command line says."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.contenders.{name}", description=description)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="base URL")
    parser.add_argument("--directory", type=Path, required=True, help="of the databases")
    parser.add_argument("--temporal-port", type=int, default=0)
    parser.add_argument("--ui-port", type=int, default=0)
    parser.add_argument("--default-flags", action="store_true", help="Temporal's own, rather than the service's")
    parser.add_argument("--local-steps", type=int, default=0, help="of the floor, that do nothing")
    chosen = parser.parse_args()
    run_process(run(Options(**vars(chosen))))
    leave(0)
