"""Waiting for an interaction: woken by every write to its log, and kept from waiting for ever.

The store tells how an interaction ends, so nobody asks Temporal for that; an end that came about in this process is
handed on as it was stored. But a workflow that an operator has ended writes nothing; so while somebody waits, Temporal
is asked now and then whether it still runs. However many wait for the same interaction, they share its looks.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import monotonic

from core.orchestrator.contracts import InteractionView
from core.orchestrator.errors import OrchestratorError, WorkflowServiceUnavailableError
from core.orchestrator.events import InteractionEnded, InteractionEvent
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
_SPREAD = 0.25
"""By up to this part of it longer: streams that came back together do not look together."""
_SILENCE = 2
"""So many looks in a row without an answer mean that Temporal is gone; one alone may have been a busy moment."""


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """When one who waits wants a look; all in seconds."""

    first: float
    """After so long; then after twice as long each time."""
    rarely: float
    """The longest time between two."""
    once_more: float
    """After one that was not answered."""

    def slower(self, factor: float) -> "_Rhythm":
        """Return that of one with more patience."""
        return _Rhythm(self.first * factor, self.rarely * factor, self.once_more)


class Wait:
    """One wait for one interaction."""

    def __init__(self, watch: Watch, rhythm: _Rhythm, *, resumable: bool) -> None:
        """Be woken by `watch`; any look will do for the first of one that is resumable."""
        self.resumable = resumable
        self._watch = watch
        self._rhythm = rhythm
        self._began = monotonic()
        self._looked = resumable
        self._unheard = 0
        self.due = self._began + rhythm.first
        """When it wants a look."""
        self.ended: InteractionView | None = None
        """How the interaction has ended, where that was told: it need not be read."""

    @property
    def in_vain(self) -> bool:
        """Whether Temporal does not answer."""
        return self._unheard >= _SILENCE

    def take_in(self, answered: bool | None) -> None:
        """Take in what a look found, whoever it was due for; None: nothing, for a reason that its reader will meet.

        Only a caller's first look is put off by nobody else's.
        """
        now = monotonic()
        if not self._looked and now < self.due:
            return
        self._looked = True
        if answered is not None:
            self._unheard = 0 if answered else self._unheard + 1
        if answered:
            pause = min(now - self._began + self._rhythm.first, self._rhythm.rarely)
        elif answered is None or self.in_vain:
            pause = self._rhythm.rarely
        else:
            pause = self._rhythm.once_more
        self.due = now + pause
        self.wake()

    def tell(self, ended: InteractionView) -> None:
        """Tell the waiting one how the interaction has ended."""
        self.ended = ended
        self.wake()

    def wake(self) -> None:
        """Make the waiting one look again."""
        self._watch.tell()

    async def changed(self, seconds: float | None = None) -> bool:
        """Return True when it is time to look again, or False after so many seconds."""
        return await self._watch.changed(seconds)


class _Lookout:
    """Those who wait for one interaction, and the looks that they share."""

    def __init__(self, look: Callable[[], Awaitable[bool | None]], rhythm: _Rhythm) -> None:
        """Look whenever one of them is due."""
        self._look = look
        self._rhythm = rhythm
        self._patient = rhythm.slower(_PATIENCE * random.uniform(1, 1 + _SPREAD))  # noqa: S311
        self._joined = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self.waits: set[Wait] = set()

    def join(self, watch: Watch, *, resumable: bool) -> Wait:
        """Return a wait that is looked after until it leaves."""
        wait = Wait(watch, self._patient if resumable else self._rhythm, resumable=resumable)
        self.waits.add(wait)
        self._joined.set()
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking())
        return wait

    def leave(self, wait: Wait) -> None:
        """Look after a wait no longer."""
        self.waits.remove(wait)
        if not self.waits and self._looking is not None:
            self._looking.cancel()

    async def _keep_looking(self) -> None:
        while self.waits:
            self._joined.clear()
            seconds = min(wait.due for wait in self.waits) - monotonic()
            try:
                async with asyncio.timeout(max(0, seconds)):
                    await self._joined.wait()  # it may be due earlier
            except TimeoutError:
                answered = await self._look()
                for wait in self.waits:
                    wait.take_in(answered)


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
        self._rhythm = _Rhythm(first_look.total_seconds(), rarely.total_seconds(), once_more.total_seconds())
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._lookouts: dict[str, _Lookout] = {}
        self.streams_end = False
        """The process was asked to stop: streams end, whose readers can come back to the next one."""
        self.leaving = False
        """The process is about to stop: nobody waits any longer."""

    def end_streams(self) -> None:
        """End every stream."""
        self.streams_end = True
        self._wake()

    def leave(self) -> None:
        """End every wait."""
        self.leaving = True
        self.end_streams()

    def tell(self, event: InteractionEvent) -> None:
        """Hand on an end that this process brought about, when it is stored; others' ends are read."""
        lookout = self._lookouts.get(event.interaction_id)
        if lookout is not None and isinstance(event, InteractionEnded):
            for wait in lookout.waits:
                wait.tell(event.response)

    def _wake(self) -> None:
        for lookout in self._lookouts.values():
            for wait in lookout.waits:
                wait.wake()

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return sum(wait.resumable for wait in self._open)

    @property
    def callers(self) -> int:
        """How many wait for an end."""
        return len(self._open) - self.streams

    @property
    def _open(self) -> list[Wait]:
        return [wait for lookout in self._lookouts.values() for wait in lookout.waits]

    def anybody_on(self, interaction_id: str) -> bool:
        """Return whether somebody waits for an interaction, or streams it."""
        return interaction_id in self._lookouts

    @asynccontextmanager
    async def on(self, interaction_id: str, *, resumable: bool = False) -> AsyncIterator[Wait]:
        """Yield a wait that misses nothing from here on: look first, then wait; the resumable ask Temporal less."""
        async with self._follower.watch(interaction_id) as watch:
            lookout = self._lookouts.get(interaction_id)
            if lookout is None:
                lookout = _Lookout(partial(self._look_after, interaction_id), self._rhythm)
                self._lookouts[interaction_id] = lookout
            wait = lookout.join(watch, resumable=resumable)
            try:
                yield wait
            finally:
                lookout.leave(wait)
                if not lookout.waits:
                    del self._lookouts[interaction_id]

    async def _look_after(self, interaction_id: str) -> bool | None:
        """Return whether Temporal answered; None: something else went wrong."""
        try:
            async with self._turns:
                await self._settlement.settle(interaction_id)
        except WorkflowServiceUnavailableError:
            return False
        except OrchestratorError:
            return None
        return True
