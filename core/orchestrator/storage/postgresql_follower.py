"""What other processes commit to a PostgreSQL database: they notify with the commit, and one connection listens.

The connection is beside the pool: it is never handed out, and waits for ever. When it is lost it is made again, and
whoever waits is told to look, for something may have been missed. While there is none, or it hears nothing (through a
proxy that shares connections between transactions, LISTEN is answered and then forgotten), everybody is told to look
every second. Whether it hears is tried out once: by a notification through the pool.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress

import asyncpg

from core.orchestrator.errors import OrchestratorError, StorageUnavailableError
from core.orchestrator.log_context import begun_apart
from core.orchestrator.storage.changes import Changes

logger = logging.getLogger(__name__)

CHANNEL = "orchestrator"
_LONGEST_PAYLOAD = 7900
"""Bytes; PostgreSQL takes fewer than 8000."""
_PROOF = "?"
_PROOF_SECONDS = 2
_LOOK_SECONDS = 1
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
_ALIVE_SECONDS = 10
"""So often a connection that says nothing is asked whether it is still there."""

_TROUBLE = (OrchestratorError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


def payloads_of(process: str, topics: Iterable[str]) -> list[str]:
    """Return notifications that tell of topics, each as short as it must be; `process` says whose they are."""
    return ["\n".join((process, *some)) for some in _some_at_a_time(topics, _LONGEST_PAYLOAD - len(process))]


def _some_at_a_time(topics: Iterable[str], room: int) -> Iterator[list[str]]:
    some: list[str] = []
    left = room
    for topic in topics:
        size = len(topic.encode()) + 1
        if some and size > left:
            yield some
            some, left = [], room
        some.append(topic)
        left -= size
    if some:
        yield some


class PostgresqlFollower:
    """Listens."""

    def __init__(
        self,
        process: str,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        notify: Callable[[str], Awaitable[None]],
        changes: Changes,
        *,
        wait_seconds: float,
        alive_seconds: float = _ALIVE_SECONDS,
    ) -> None:
        """Tell `changes` of what comes from other processes than `process`.

        Args:
            process: whose own notifications are left out.
            connect: opens the connection that listens.
            notify: sends a notification by another way.
            changes: is told.
            wait_seconds: how long the server may take to answer.
            alive_seconds: how often it is asked for a sign of life.
        """
        self._process = process
        self._connect = connect
        self._notify = notify
        self._changes = changes
        self._wait_seconds = wait_seconds
        self._alive_seconds = alive_seconds
        self._tasks: list[asyncio.Task[None]] = []
        self._decided = asyncio.Event()
        """Whether it listens is known: it does, or the first try has failed."""
        self._listens = False
        self._hears = asyncio.Event()
        self._deaf = asyncio.Event()
        """Nothing can be relied on to be heard."""

    async def follow(self) -> None:
        """Tell of every commit from now on; nothing happens while that is done already.

        Raises:
            StorageUnavailableError: the database did not answer. It is tried again and again, and meanwhile whoever
                waits looks every second.
        """
        if not self._tasks:
            self._tasks = [begun_apart(work) for work in (self._stay_connected(), self._look_while_deaf())]
        await self._decided.wait()
        if not self._listens:
            raise StorageUnavailableError("the database did not answer: other processes' writes are looked for")

    def relax(self) -> None:
        """Go on: to listen costs nothing while nothing is said."""

    def rest(self) -> None:
        """Go on: to listen costs nothing while nothing is said."""

    async def close(self) -> None:
        """Stop for good."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _stay_connected(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                async with asyncio.timeout(self._wait_seconds):
                    connection = await self._connect()
            except _TROUBLE as error:
                self._note_loss(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            try:
                await self._listen(connection)
            except _TROUBLE as error:
                self._note_loss(error)
            finally:
                connection.terminate()
            await asyncio.sleep(pause)

    def _note_loss(self, error: Exception) -> None:
        if self._listens or not self._decided.is_set():
            logger.warning("other processes' writes are looked for every second: %s", type(error).__name__)
        self._listens = False
        self._decided.set()
        self._deaf.set()

    async def _listen(self, connection: asyncpg.Connection) -> None:
        """Listen until the connection is lost; then raise one of `_TROUBLE`."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        async with asyncio.timeout(self._wait_seconds):
            await connection.add_listener(CHANNEL, self._heard)
        self._listens = True
        self._decided.set()
        hears = True
        pause = _FIRST_PAUSE_SECONDS
        while True:
            if self._deaf.is_set() or pause == _FIRST_PAUSE_SECONDS:
                hears = await self._proves_to_hear(lost)
                self._note_hearing(hears)
            pause = self._alive_seconds if hears else min(2 * pause, self._alive_seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await lost.wait()
            if lost.is_set():
                raise ConnectionResetError
            async with asyncio.timeout(self._wait_seconds):
                await connection.execute("SELECT 1")

    def _note_hearing(self, hears: bool) -> None:
        if hears and self._deaf.is_set():
            logger.info("other processes' writes are heard of again")
            self._deaf.clear()
            self._changes.tell_all()
        elif not hears and not self._deaf.is_set():
            logger.warning("notifications do not arrive: other processes' writes are looked for every second")
            self._deaf.set()

    async def _proves_to_hear(self, lost: asyncio.Event) -> bool:
        """Tell whether a notification arrives.

        Raises:
            ConnectionResetError: the connection was lost meanwhile.
        """
        self._hears.clear()
        waiting = [asyncio.create_task(event.wait()) for event in (self._hears, lost)]
        try:
            await self._notify("\n".join((self._process, _PROOF)))
            await asyncio.wait(waiting, timeout=_PROOF_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        except StorageUnavailableError:
            return False
        finally:
            for task in waiting:
                task.cancel()
        if lost.is_set():
            raise ConnectionResetError
        return self._hears.is_set()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        process, *topics = str(payload).split("\n")
        if process != self._process:
            self._changes.tell(topics)
        elif topics == [_PROOF]:
            self._hears.set()

    async def _look_while_deaf(self) -> None:
        while True:
            await self._deaf.wait()
            self._changes.tell_all()
            await asyncio.sleep(_LOOK_SECONDS)
