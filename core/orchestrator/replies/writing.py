"""Writing a growing text into the reply log: the first piece at once, then what has come by every 75 ms.

A commit for each token would cost more than the tokens. The log is a view, so a database that is away for a moment
holds nobody up: the text waits, and comes with a later piece or with the end.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.providers.untrusted import as_text

logger = logging.getLogger(__name__)

_INTERVAL = timedelta(milliseconds=75)


class DeltaWriter:
    """Writes one call's text, several pieces at a time."""

    def __init__(
        self, write: Callable[[str], Awaitable[bool]], refused: Callable[[], None], interval: timedelta = _INTERVAL
    ) -> None:
        """Write with `write`; where that returns False somebody else has taken over, and `refused` is called."""
        self._write = write
        self._refused = refused
        self._interval = interval
        self._pieces: list[str] = []
        self._filled = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task = asyncio.create_task(self._run())

    def add(self, piece: str) -> None:
        """Take in some more text."""
        self._pieces.append(piece)
        self._filled.set()

    async def drain(self) -> str:
        """Stop writing, and return what is not written yet: it belongs with what follows."""
        async with self._writing:  # what is being written is finished first
            self._task.cancel()
            await asyncio.wait([self._task])
            return self._take(whole=True)

    async def _run(self) -> None:
        while True:
            await self._filled.wait()
            async with self._writing:
                if not await self._write_down():
                    self._refused()
                    return
            await asyncio.sleep(self._interval.total_seconds())

    async def _write_down(self) -> bool:
        text = self._take()
        if not text:
            return True
        try:
            return await self._write(text)
        except StorageUnavailableError as error:
            logger.warning("a piece of a reply is shown later: %s", error)
            self._pieces.insert(0, text)
            self._filled.set()
            return True

    def _take(self, *, whole: bool = False) -> str:
        text = "".join(self._pieces)
        self._pieces.clear()
        self._filled.clear()
        if not whole and text and "\ud800" <= text[-1] <= "\udbff":  # half a character: its other half comes next
            self._pieces.append(text[-1])
            text = text[:-1]
        return as_text(text) or ""
