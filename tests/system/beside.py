"""Tests that are begun at once, because nearly all of their time is waiting: for a deadline, a heartbeat, a death.

    @beside
    async def test_something_dies(own_system: System) -> None: ...

Those of one file run beside each other, each in a system of its own, and each fails for itself. They may ask for
`own_system` and `temporal`; a file's `PACE` is that of its stand-ins. The fixture `begun` is in `conftest.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable

Body = Callable[..., Awaitable[None]]
_BODY = "_begun_beside_others"


def beside(body: Body) -> Body:
    """Begin this test together with the first one of its file that is marked so."""

    async def test(begun: dict[Body, asyncio.Task[None]]) -> None:
        await begun[body]

    test.__name__, test.__module__ = body.__name__, body.__module__
    setattr(test, _BODY, body)
    return test


def body_of(test: object) -> Body | None:
    """The body of a test that is marked so."""
    body: Body | None = getattr(test, _BODY, None)
    return body
