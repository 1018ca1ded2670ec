"""The port to Temporal: what the domain asks about the workflow behind an interaction."""

from datetime import timedelta
from enum import StrEnum
from typing import Protocol

START_TIMEOUT = timedelta(seconds=4)
"""How long a start may take; after it, and some grace, an interaction without a workflow will never have one."""


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
        """Return what Temporal knows of a workflow.

        Raises:
            WorkflowServiceUnavailableError: Temporal did not answer.
        """

    async def reconcile(self, interaction_id: str) -> None:
        """Have what the broken calls of an interaction cost looked up in the background.

        Nothing happens while that is done already. A start that fails is logged: the next worker that starts makes it
        good.
        """

    async def free_place(self, workflow_id: str) -> None:
        """Tell a waiting turn that the one before it has ended; nothing happens when it does not run."""

    async def cancel(self, workflow_id: str) -> None:
        """Ask a run to end as cancelled; nothing happens when it does not run.

        Raises:
            WorkflowServiceUnavailableError: Temporal did not answer.
        """

    async def delete(self, workflow_id: str) -> None:
        """Remove a run with its history, ending it where it still goes on; nothing happens when there is none.

        Raises:
            WorkflowServiceUnavailableError: Temporal did not answer.
        """
