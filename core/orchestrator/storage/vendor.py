"""What one database has its own way of: connections, what they tell one another, and what is left of the deleted."""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol

from core.orchestrator.storage.changes import Changes, Follower
from core.orchestrator.storage.connection import Connection


class Vendor(Protocol):
    """A maker of databases. Everything here raises `StorageUnavailableError` where the database does not answer."""

    keeps_itself: bool
    """Only processes of one machine use the database, and whichever is started first may change its schema."""

    @property
    def connections_in_use(self) -> int:
        """How many connections are being used at the moment."""

    def reading(self, *, takes_long: bool = False) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction that sees one consistent state."""

    def writing(self, *, takes_long: bool = False) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction whose writes nobody sees before it is committed, at the end, unless it failed."""

    def in_line(self, name: str) -> AbstractAsyncContextManager[None]:
        """Let those of one process that name the same thing come one after the other."""

    def migrating(self) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction that may change the schema: alone, and for as long as it takes."""

    def follower(self, changes: Changes) -> Follower:
        """Return what tells `changes` of other processes' commits."""

    async def announce(self, connection: Connection, topics: Iterable[str]) -> None:
        """Tell other processes what the transaction touched, as soon as it is committed."""

    async def purge(self, patience: timedelta) -> None:
        """Leave as little of what was deleted as can be, without keeping anybody waiting for longer than `patience`."""

    async def close(self) -> None:
        """Close every connection."""
