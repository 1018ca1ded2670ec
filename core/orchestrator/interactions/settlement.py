"""Interactions whose workflow is gone: settled by whoever meets them next, so that nobody waits for them.

The service process may be killed between opening a turn and starting its workflow, and an operator may terminate a
run. Neither leaves an ending in the store; both are told apart from a run in progress by asking Temporal.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from core.orchestrator.contracts import InteractionError, InteractionStatus, workflow_id_of
from core.orchestrator.errors import ErrorType
from core.orchestrator.interactions.store import Clock, Ending, InteractionStore, utc_now

START_TIMEOUT = timedelta(seconds=4)
"""How long a start may take; after it, and some grace, an interaction without a workflow will never have one."""
_GRACE = timedelta(seconds=2)


class RunState(StrEnum):
    """What Temporal knows of an interaction's workflow."""

    RUNNING = "running"
    MISSING = "missing"
    CANCELLED = "cancelled"
    CLOSED = "closed"
    """Completed, failed, terminated or timed out."""


class Runs(Protocol):
    """The port to Temporal."""

    async def state(self, workflow_id: str) -> RunState:
        """Return what Temporal knows of a workflow; RUNNING when it cannot be asked."""

    async def free_place(self, workflow_id: str) -> None:
        """Tell a waiting turn that the one before it has ended; nothing happens when it does not run."""


class Settlement:
    """Ends interactions that nobody will end any more."""

    def __init__(self, store: InteractionStore, runs: Runs, clock: Clock = utc_now) -> None:
        """Compare `store` with what `runs` knows."""
        self._store = store
        self._runs = runs
        self._clock = clock

    async def settle_if_gone(self, interaction_id: str) -> bool:
        """End an open interaction whose workflow does not run.

        Returns:
            Whether it has ended now.
        """
        state = await self._runs.state(workflow_id_of(interaction_id))
        match state:
            case RunState.RUNNING:
                return False
            case RunState.MISSING:
                age = self._clock() - await self._store.opened_at(interaction_id)
                if age < START_TIMEOUT + _GRACE:
                    return False
                await self._store.abandon(interaction_id)
            case RunState.CANCELLED:
                error = InteractionError(type=ErrorType.CANCELLED, detail="the workflow was cancelled")
                await self._store.end(interaction_id, Ending(InteractionStatus.CANCELLED, error=error))
            case RunState.CLOSED:
                error = InteractionError(type=ErrorType.UNAVAILABLE, detail="the workflow was ended from outside")
                await self._store.end(interaction_id, Ending(InteractionStatus.FAILED, error=error))
        return True
