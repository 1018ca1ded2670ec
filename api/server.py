"""The front as a process, or as a part of one: served until asked to stop, then drained."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import uvicorn
from fastapi import FastAPI

from core.orchestrator.config import Settings
from core.orchestrator.errors import ConfigurationError

_FAREWELL_SECONDS = 0.5


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: asyncio.Event, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._end_streams = end_streams

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when requests are accepted."""
        await super().startup(sockets)
        if self.started:
            self._ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams once nobody can connect any more: whoever comes back meets the next process, not this one."""
        # Called between closing the listener, which waits for nothing, and the first wait for requests in flight.
        asyncio.get_running_loop().call_soon(self._end_streams)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the composition root, which has more to stop than this server."""
        yield


async def serve(
    app: FastAPI,
    settings: Settings,
    *,
    stop: asyncio.Event,
    grace: timedelta,
    ready: asyncio.Event | None = None,
) -> None:
    """Serve on the settings' address until `stop` is set; requests in flight may then finish for `grace`.

    Streams end at once: their readers can go on with the next process.

    `ready` is set once requests are accepted.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    config = uvicorn.Config(
        app,
        host=settings.API_HOST,
        port=settings.API_PORT,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=max(1, round(grace.total_seconds())),
    )
    server = _Server(config, ready or asyncio.Event(), app.state.service.end_streams)
    serving = asyncio.create_task(_serve(server))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    # Just before requests still waiting are cut off, they are answered with where to look for their replies.
    patience = max(0.0, grace.total_seconds() - _FAREWELL_SECONDS)
    farewell = asyncio.get_running_loop().call_later(patience, app.state.service.leave)
    try:
        await serving
    finally:
        farewell.cancel()


async def _serve(server: uvicorn.Server) -> None:
    try:
        await server.serve()
    except SystemExit:  # uvicorn's answer to an address it cannot listen on
        address = f"{server.config.host}:{server.config.port}"
        raise ConfigurationError(
            f"{address} cannot be listened on: it is in use, or no address of this machine; see API_HOST, API_PORT"
        ) from None
