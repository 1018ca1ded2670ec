"""The stand-in as a running server, on a port of its own, in the process that wants it."""

from typing import Self

from aiohttp import web

from standin.api import OpenRouterApi
from standin.control import ControlApi
from standin.ledger import Ledger
from standin.pace import Pace
from standin.script import Script, Step

_LARGEST_REQUEST = 64 * 1024 * 1024
_GRACE = 0.1
"""Seconds that open calls get when the server stops: some of them never end on their own."""


class StandIn:
    """A running stand-in: `async with StandIn() as standin`. Port 0 takes any free one."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, pace: Pace | None = None, keep_calls: int = 10_000
    ) -> None:
        self.host = host
        self.port = port
        self.ledger = Ledger(keep_calls)
        self._script = Script()
        self._runner = web.AppRunner(
            self._app(pace or Pace()),
            # Without this a client that leaves is only noticed by the next write.
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=_GRACE,
        )

    @property
    def base_url(self) -> str:
        """What a client of OpenRouter takes as its base URL."""
        return f"http://{self.host}:{self.port}/api/v1"

    @property
    def control_url(self) -> str:
        """Where the endpoints for steering are."""
        return f"http://{self.host}:{self.port}/standin"

    def script(self, model: str, *steps: Step) -> None:
        """Decide what the next calls of a model do: see `standin.script`.

        Raises:
            ValueError: a step is none.
        """
        self._script.add(model, *steps)

    def release(self) -> None:
        """Let every call go that is held now."""
        self._script.release()

    def reset(self) -> None:
        """Start afresh: no calls, no bill, no script, nothing held."""
        self._script.clear()
        self.ledger.clear()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be used.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and drop what is still open."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _app(self, pace: Pace) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.add_routes(OpenRouterApi(self.ledger, self._script, pace).routes())
        app.add_routes(ControlApi(self.ledger, self._script).routes())
        return app
