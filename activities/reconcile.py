"""In the background, after the end: what broken calls cost.

The waits between looks are Temporal's: a provider takes a moment to write its bill, and no worker is held meanwhile.
"""

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.failures import only_storage_is_retried
from core.orchestrator.calls.reconciliation import Reconciliation
from core.orchestrator.contracts import Reconcile, Reconciled


class ReconcileActivity:
    """Looks bills up."""

    def __init__(self, reconciliation: Reconciliation) -> None:
        """Look through `reconciliation`."""
        self._reconciliation = reconciliation

    @activity.defn(name="reconcile")
    async def reconcile(self, request: Reconcile) -> Reconciled:
        """Return how many costs are known, once no further look can tell more.

        Raises:
            ApplicationError: the next look may tell more; retryable, with what is known now as its detail.
        """
        with only_storage_is_retried():
            look = await self._reconciliation.look(request.interaction_id)
        if look.again:
            raise ApplicationError(
                f"{look.reconciled.unknown} of the costs not known yet",
                look.reconciled,
                type="not_known_yet",
                category=ApplicationErrorCategory.BENIGN,  # the ordinary course of the first seconds
            )
        return look.reconciled
