"""The end that a model's answer brings: stored as soon as the answer is, so that its reader waits for nothing else.

The workflow hears of an answer some milliseconds later, and its last step finds the interaction ended. Should a worker
be lost between the two, or before the end, nothing is missing: the answer is kept, and that step ends with it.
"""

from typing import Any, Protocol

from sqlalchemy import Row

from core.orchestrator.calls.texts import FinishedText


class Endings(Protocol):
    """Ends interactions whose model has answered."""

    async def end_answered(self, interaction: Row[Any], place: int, answer: FinishedText) -> None:
        """End an interaction, as it was when its call began, with an answer that is kept; tell those whom it concerns.

        Raises:
            OrchestratorError: it was not ended; whoever takes its last step does it.
        """
