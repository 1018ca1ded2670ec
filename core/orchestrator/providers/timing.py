"""How long to wait for an answer, counted in data.

OpenRouter keeps a connection alive with comment lines (and with blanks before a JSON body) while nothing is being
generated, so a read timeout on bytes would never fire. The reader reports data; silence between bytes is not asked.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from core.orchestrator.providers import failure_kinds as kinds
from core.orchestrator.providers.classification import failure


class DataTimer:
    """A deadline for the first data, counted from here, then one for each further wait.

    Only waiting counts: a slow consumer does not make the upstream look stalled.
    """

    def __init__(self, first: timedelta, stall: timedelta) -> None:
        """`first`: until the first data, connecting included; `stall`: between two pieces of data."""
        self._first = first.total_seconds()
        self._stall = stall.total_seconds()
        self._first_deadline = asyncio.get_running_loop().time() + self._first
        self.data_seen = False

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Bound one wait for data.

        Raises:
            LLMProviderTimeoutError: (`timeout`) no first data in time, (`stalled`) no further data in time.
        """
        deadline = asyncio.get_running_loop().time() + self._stall if self.data_seen else self._first_deadline
        timer = asyncio.timeout_at(deadline)
        try:
            async with timer:
                yield
        except TimeoutError:
            if not timer.expired():
                raise
            if self.data_seen:
                raise failure(kinds.STALLED, f"the upstream sent no further data for {self._stall:g} s") from None
            raise failure(kinds.TIMED_OUT, f"the upstream sent no data within {self._first:g} s") from None
