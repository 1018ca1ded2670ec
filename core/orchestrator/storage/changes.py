"""Waiting for a write: whoever reads a thing that may change is woken by the commit that changed it.

A commit of this process wakes its own readers at once. What other processes commit to the same database is told by a
follower, which knows the vendor's way. A wake says no more than "look again": the database has the truth, so one too
many does no harm.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.storage.connection import Connection

_TOUCHED = "orchestrator_touched"


def reply_topic(interaction_id: str) -> str:
    """Return the topic of an interaction's reply log."""
    return f"reply:{interaction_id}"


def cancel_topic(interaction_id: str) -> str:
    """Return the topic of the wish to end an interaction."""
    return f"cancel:{interaction_id}"


def touch(connection: Connection, topic: str) -> None:
    """Wake those who wait for a topic as soon as the transaction of `connection` is committed."""
    connection.info.setdefault(_TOUCHED, set()).add(topic)


def take_touched(connection: Connection) -> set[str]:
    """Return, and forget, what was touched in a transaction."""
    touched: set[str] = connection.info.pop(_TOUCHED, set())
    return touched


class Watch:
    """One reader's wait for one topic."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Note a change."""
        self._changed.set()

    async def changed(self, seconds: float | None = None) -> bool:
        """Return True as soon as there was a change since the last time, or False after so many seconds."""
        if not self._changed.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                return False
        self._changed.clear()
        return True


class Follower(Protocol):
    """Tells what other processes commit."""

    async def follow(self) -> None:
        """Tell of every commit from now on; nothing happens while that is done already.

        Raises:
            StorageUnavailableError: the database did not answer.
        """

    def relax(self) -> None:
        """Expect no other process to write: should one do so, it may be told a little later."""

    def rest(self) -> None:
        """Stop telling: nobody waits."""

    async def close(self) -> None:
        """Stop for good."""


class Changes:
    """The topics that readers of this process wait for."""

    def __init__(self, follower: Callable[["Changes"], Follower]) -> None:
        """Hear of other processes' commits through what `follower` makes."""
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self._follower = follower(self)

    @asynccontextmanager
    async def watch(self, topic: str) -> AsyncIterator[Watch]:
        """Yield a watch that misses no change from here on: read first, then wait.

        A database that does not answer is no reason to stop: its reader will notice, and the process's own commits are
        told all the same.
        """
        watch = Watch()
        self._watches[topic].add(watch)
        try:
            try:
                await self._follower.follow()
            except StorageUnavailableError:
                watch.tell()
            yield watch
        finally:
            self._watches[topic].discard(watch)
            if not self._watches[topic]:
                del self._watches[topic]
            if not self._watches:
                self._follower.rest()

    def relax(self) -> None:
        """Expect no other process to write: should one do so, its readers here are woken a little later."""
        self._follower.relax()

    def tell(self, topics: Iterable[str]) -> None:
        """Wake those who wait for any of the topics."""
        for topic in topics:
            for watch in self._watches.get(topic, ()):
                watch.tell()

    def tell_all(self) -> None:
        """Wake everybody who waits: something may have happened that nobody was told."""
        for watches in self._watches.values():
            for watch in watches:
                watch.tell()

    def close(self) -> Awaitable[None]:
        """Stop following."""
        return self._follower.close()
