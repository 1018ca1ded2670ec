"""Under which id the upstream knows a call: kept while the call runs, so that a lost worker's call can be looked up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Self

from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.providers.untrusted import one_line

logger = logging.getLogger(__name__)

LABEL_CHARACTERS = 200


class Identification:
    """Remembers the id of one call, and writes it down beside the call if that takes long: a short one pays nothing."""

    def __init__(self, write: Callable[[str], Awaitable[None]], after: timedelta) -> None:
        """Write the id with `write` when the call runs for `after` once it is accepted."""
        self.generation_id: str | None = None
        self._write = write
        self._after = after
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def accepted(self, generation_id: object) -> None:
        """Note that the upstream took the call; the first id stands."""
        if self.generation_id is None and (known := one_line(generation_id, LABEL_CHARACTERS)):
            self.generation_id = known
            self._timer = asyncio.get_running_loop().call_later(self._after.total_seconds(), self._begin, known)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def _begin(self, generation_id: str) -> None:
        self._writing = asyncio.create_task(self._write_down(generation_id))

    async def _write_down(self, generation_id: str) -> None:
        try:
            await self._write(generation_id)
        except StorageUnavailableError as error:
            logger.warning("the id of a running call could not be written down: %s", error)
