"""Recording what is paid for: past a database that is away for a moment, and past our own stop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from core.orchestrator.errors import StorageUnavailableError

T = TypeVar("T")

_PAUSES_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 10, 10)


async def insist(access: Callable[[], Awaitable[T]]) -> T:
    """Record what has been paid for, waiting out a database that is away for a moment.

    Raises:
        StorageUnavailableError: it stayed away.
    """
    for pause in _PAUSES_SECONDS:
        try:
            return await access()
        except StorageUnavailableError:
            await asyncio.sleep(pause)
    return await access()


async def finish(write: Coroutine[Any, Any, T]) -> T:
    """Finish a write even if we are told to stop meanwhile: what is paid for is kept. Then obey."""
    writing = asyncio.create_task(write)
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise
