"""Ending a call from outside: because its interaction is to end, or because a newer call has taken over."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from core.orchestrator.calls.cancelling import CancelWatch
from core.orchestrator.errors import ErrorType, StorageUnavailableError

logger = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 1


class Stop:
    """A scope that is left before its end, with a TimeoutError as a time limit does, when its call is to stop."""

    def __init__(self, cancellation: CancelWatch) -> None:
        """Leave it when `cancellation` says so, or when asked to."""
        self.reason: ErrorType | None = None
        """Why it was left: `cancelled` or `worker_lost`; None: it was not."""
        self._cancellation = cancellation
        self._scope = asyncio.timeout(None)
        self._open = False

    def ask(self, reason: ErrorType) -> None:
        """Leave the scope; outside of it nothing happens."""
        if self._open and self.reason is None:
            self.reason = reason
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        self._open = True
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        self._listening.cancel()
        try:
            await asyncio.wait([self._listening])
        finally:
            await self._scope.__aexit__(kind, error, traceback)

    async def _listen(self) -> None:
        while True:
            try:
                await self._cancellation.wanted()
            except StorageUnavailableError as error:
                logger.warning("whether a call is to be cancelled cannot be read: %s", error)
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            else:
                self.ask(ErrorType.CANCELLED)
                return
