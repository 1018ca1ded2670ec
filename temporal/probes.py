"""What a worker process answers to those who run it: `GET /metrics`, and `GET /healthz` while it polls.

For a scraper and a container's health check, on an address of their own; there are no keys, so it is no address for
strangers.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from core.orchestrator.config import Settings
from core.orchestrator.errors import ConfigurationError
from core.orchestrator.telemetry.metrics import CONTENT_TYPE, Metrics

_TEXT = "text/plain; charset=utf-8"
_Answer = tuple[int, str, bytes]


class Probes:
    """Answers probes."""

    def __init__(self, metrics: Metrics) -> None:
        """Show `metrics`."""
        self._metrics = metrics
        self.polls: Callable[[], bool] = lambda: False
        """Whether the worker polls; set once there is one."""

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        """Answer one request; an ASGI application."""
        if scope["type"] != "http":
            return
        status, kind, body = self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str) -> _Answer:
        if path not in ("/metrics", "/healthz"):
            return 404, _TEXT, b"there are /metrics and /healthz\n"
        if method not in ("GET", "HEAD"):
            return 405, _TEXT, b"only GET\n"
        if path == "/metrics":
            return 200, CONTENT_TYPE, self._metrics.text()
        return (200, _TEXT, b"ok\n") if self.polls() else (503, _TEXT, b"the worker does not poll\n")


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the composition root."""
        yield


@asynccontextmanager
async def probes_answered(settings: Settings, metrics: Metrics) -> AsyncIterator[Probes]:
    """Answer probes during the block, if the settings name a port.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    probes = Probes(metrics)
    if settings.WORKER_METRICS_PORT is None:
        yield probes
        return
    listener = _listen(settings.WORKER_METRICS_HOST, settings.WORKER_METRICS_PORT)
    config = uvicorn.Config(
        probes, log_config=None, access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield probes
    finally:
        server.should_exit = True
        await asyncio.wait([serving])
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be listened on ({error.strerror}); see WORKER_METRICS_HOST, WORKER_METRICS_PORT"
        ) from None
