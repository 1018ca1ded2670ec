"""The end that a model's answer brings: in the transaction that keeps it, so that its reader waits for nothing else.

The workflow hears of an answer some milliseconds later, and its last step finds the interaction ended. Should a worker
be lost between the two, nothing is missing: the answer and the end are there together, or neither is.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from core.orchestrator.calls.texts import FinishedText

Tell = Callable[[], Awaitable[None]]
"""Tells those whom an end concerns; to be called when it is committed."""


class Endings(Protocol):
    """Ends interactions whose model has answered."""

    async def end_answered(
        self, connection: AsyncConnection, interaction_id: str, place: int, answer: FinishedText
    ) -> Tell:
        """End an interaction with an answer that is kept in the same transaction."""


async def tell_nobody() -> None:
    """Tell of no end: there is none."""
