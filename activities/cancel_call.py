"""When a run is cancelled during a call: the call is told, in whichever worker it runs.

Temporal tells it with the answer to its next heartbeat, which may be many seconds away.
"""

from temporalio import activity

from activities.failures import only_storage_is_retried
from core.orchestrator.calls.cancelling import Cancellations
from core.orchestrator.contracts import CancelCall


class CancelCallActivity:
    """Stops calls."""

    def __init__(self, cancellations: Cancellations) -> None:
        """Tell them through `cancellations`."""
        self._cancellations = cancellations

    @activity.defn(name="cancel_call")
    async def cancel_call(self, request: CancelCall) -> None:
        """Note that the interaction is to end, which wakes its call."""
        with only_storage_is_retried():
            await self._cancellations.mark(request.interaction_id)
