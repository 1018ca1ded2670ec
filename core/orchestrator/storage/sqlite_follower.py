"""What other processes commit to a SQLite file, noticed within some 10 ms.

SQLite tells nobody of a commit, but `PRAGMA data_version` changes with each one of another connection, and asking costs
a few microseconds. A thread of its own asks, so that the event loop pays nothing while nothing happens; only then it
reads which interactions' logs have grown. While nobody waits, the thread sleeps.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path

from core.orchestrator.errors import StorageUnavailableError
from core.orchestrator.storage.changes import cancel_topic, reply_topic
from core.orchestrator.storage.tables import WAKE

logger = logging.getLogger(__name__)

_EVERY_SECONDS = 0.01
_RELAXED_SECONDS = 0.1
_LINGER_SECONDS = 10
"""Whoever waited is likely to wait again soon, and beginning to follow takes a moment."""
_AFTER_TROUBLE_SECONDS = 1
_CLOSE_SECONDS = 5


class SqliteFollower:
    """Follows the reply log of a SQLite file."""

    def __init__(self, path: Path, tell: Callable[[Iterable[str]], None], wait_seconds: float) -> None:
        """Tell topics with `tell`, on the event loop that asked to follow."""
        self._path = path
        self._tell = tell
        self._wait_seconds = wait_seconds
        self._every_seconds = _EVERY_SECONDS
        self._thread: threading.Thread | None = None
        self._position: int | None = None
        """How far the log has been told; None: nobody waits."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()  # guards the four below, which both threads write
        self._wanted = threading.Event()
        self._unwanted_since = 0.0
        self._following = False
        self._starting: asyncio.Future[None] | None = None
        self._closed = False

    async def follow(self) -> None:
        """Tell of every commit from now on; nothing happens while that is done already.

        Raises:
            StorageUnavailableError: the database did not answer.
        """
        with self._lock:
            self._wanted.set()
            if self._following:
                return
            self._loop = asyncio.get_running_loop()
            self._starting = self._starting or self._loop.create_future()
            starting = self._starting
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sqlite-follower", daemon=True)
                self._thread.start()
        try:
            await asyncio.wait_for(asyncio.shield(starting), self._wait_seconds)
        except TimeoutError:
            raise StorageUnavailableError("the database did not answer") from None

    def relax(self) -> None:
        """Look less often: this process's own commits are told without it."""
        self._every_seconds = _RELAXED_SECONDS

    def rest(self) -> None:
        """Stop telling after a while."""
        with self._lock:
            self._wanted.clear()
            self._unwanted_since = time.monotonic()

    async def close(self) -> None:
        """Stop for good."""
        self._closed = True
        self._wanted.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closed:
            self._wanted.wait()
            try:
                with closing(sqlite3.connect(self._path, timeout=self._wait_seconds, isolation_level=None)) as database:
                    self._follow(database)
            except sqlite3.Error as error:
                with self._lock:
                    self._following = False
                logger.warning("other processes' writes are not noticed for a while: %s", error)
                time.sleep(_AFTER_TROUBLE_SECONDS)

    def _follow(self, database: sqlite3.Connection) -> None:
        version = None  # after trouble: tell at once what was missed
        if self._position is None:
            version = _one(database, "PRAGMA data_version")
            self._position = _one(database, "SELECT coalesce(max(position), 0) FROM reply_events")
        self._on_loop(self._started)
        while not self._may_rest():
            now = _one(database, "PRAGMA data_version")
            if now != version:
                version = now
                self._position = self._tell_after(database, self._position)
            time.sleep(self._every_seconds)
        self._position = None

    def _tell_after(self, database: sqlite3.Connection, position: int) -> int:
        query = "SELECT position, interaction_id, type FROM reply_events WHERE position > ? ORDER BY position"
        grown = database.execute(query, [position]).fetchall()
        if grown:
            topics = {(cancel_topic if kind == WAKE else reply_topic)(one) for _, one, kind in grown}
            self._on_loop(self._tell, topics)
        return grown[-1][0] if grown else position

    def _may_rest(self) -> bool:
        with self._lock:
            unwanted = not self._wanted.is_set() and time.monotonic() - self._unwanted_since > _LINGER_SECONDS
            if unwanted:
                self._following = False
        return unwanted or self._closed

    def _started(self) -> None:
        with self._lock:
            self._following = True
            starting, self._starting = self._starting, None
        if starting is not None and not starting.done():
            starting.set_result(None)

    def _on_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback, *arguments)


def _one(database: sqlite3.Connection, query: str) -> int:
    value: int = database.execute(query).fetchone()[0]
    return value
