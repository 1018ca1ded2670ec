"""Waiting for an interaction: woken by every write to its log, and kept from waiting for ever.

The store tells how an interaction ends, so nobody asks Temporal for that. But a workflow that an operator has ended
writes nothing; so while somebody waits, Temporal is asked now and then whether it still runs.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from core.orchestrator.errors import OrchestratorError, WorkflowServiceUnavailableError
from core.orchestrator.interactions.following import ReplyFollower
from core.orchestrator.interactions.settlement import Settlement
from core.orchestrator.storage.changes import Watch

_FIRST_LOOK = timedelta(seconds=2.5)
_RARELY = timedelta(seconds=30)
_ONCE_MORE = timedelta(seconds=1)
_AT_ONCE = 8
"""So many looks at a time: a crowd of them would make Temporal look as if it did not answer."""
_PATIENCE = 4
"""So many times as long as a caller a stream waits for a look: there may be thousands, open for hours."""
_SILENCE = 2
"""So many looks in a row without an answer mean that Temporal is gone; one alone may have been a busy moment."""


class Wait:
    """One wait for one interaction."""

    def __init__(self, watch: Watch) -> None:
        """Be woken by `watch`."""
        self._watch = watch
        self.unheard = 0
        """How many times in a row Temporal has not answered."""

    @property
    def in_vain(self) -> bool:
        """Whether Temporal does not answer."""
        return self.unheard >= _SILENCE

    def wake(self) -> None:
        """Make the waiting one look again."""
        self._watch.tell()

    async def changed(self, seconds: float | None = None) -> bool:
        """Return True when it is time to look again, or False after so many seconds."""
        return await self._watch.changed(seconds)


class Waits:
    """Every wait of this process."""

    def __init__(
        self,
        follower: ReplyFollower,
        settlement: Settlement,
        *,
        first_look: timedelta = _FIRST_LOOK,
        rarely: timedelta = _RARELY,
        once_more: timedelta = _ONCE_MORE,
    ) -> None:
        """Wait for what `follower` reads, and settle what is gone.

        Args:
            follower: tells of writes.
            settlement: asks Temporal.
            first_look: when Temporal is asked first; then after twice as long each time.
            rarely: the longest time between two looks.
            once_more: when it is asked again after it did not answer.
        """
        self._follower = follower
        self._settlement = settlement
        self._first_look = first_look.total_seconds()
        self._rarely = rarely.total_seconds()
        self._once_more = once_more.total_seconds()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waits: set[Wait] = set()
        self.leaving = False
        """The process is about to stop: nobody waits any longer."""

    def leave(self) -> None:
        """End every wait."""
        self.leaving = True
        for wait in self._waits:
            wait.wake()

    @asynccontextmanager
    async def on(self, interaction_id: str, *, patiently: bool = False) -> AsyncIterator[Wait]:
        """Yield a wait that misses nothing from here on: look first, then wait; the patient ask Temporal less."""
        async with self._follower.watch(interaction_id) as watch:
            wait = Wait(watch)
            self._waits.add(wait)
            looking = asyncio.create_task(self._look_after(interaction_id, wait, _PATIENCE if patiently else 1))
            try:
                yield wait
            finally:
                looking.cancel()
                self._waits.discard(wait)

    async def _look_after(self, interaction_id: str, wait: Wait, patience: int) -> None:
        pause = self._first_look * patience
        rarely = self._rarely * patience
        while True:
            await asyncio.sleep(pause)
            try:
                async with self._turns:
                    await self._settlement.settle(interaction_id)
            except WorkflowServiceUnavailableError:
                wait.unheard += 1
                pause = self._once_more if not wait.in_vain else rarely
            except OrchestratorError:  # the one who waits will meet it too
                pause = rarely
            else:
                wait.unheard = 0
                pause = min(2 * pause, rarely)
            wait.wake()
