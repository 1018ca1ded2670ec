"""A Temporal dev server that a test may kill: it comes back on its port and its database file."""

import os
import signal
from pathlib import Path

from core.orchestrator.config import Settings
from embedded.children import Children
from embedded.temporal_server import start_temporal
from tests.harness import free_port


class Temporal:
    """A dev server of the test's own."""

    def __init__(self, directory: Path) -> None:
        self._settings = Settings(
            _env_file=None, DATA_DIR=directory, TEMPORAL_PORT=free_port(), TEMPORAL_UI_PORT=free_port()
        )
        self._children = Children(directory)
        self.address = f"127.0.0.1:{self._settings.TEMPORAL_PORT}"

    async def start(self) -> None:
        self._children.take_over()
        await start_temporal(self._settings, self._children)

    async def kill(self) -> None:
        child = self._children._running[-1]
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()

    async def stop(self) -> None:
        await self._children.stop()
