"""`reconciliation`: after an interaction with broken calls has ended, what they cost is looked up until it is known.

A run of its own, so that no reply waits for a bill, and one activity, so that every wait is between its tries.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from core.orchestrator.contracts import RECONCILIATION_WORKFLOW, Reconcile, Reconciled
    from temporal.search_attributes import OUTCOME

_SETTLED, _UNKNOWN = "settled", "unknown"
_LOOK_TIMEOUT = timedelta(seconds=30)
# 1 + 2 + 4 + 8 + 16 seconds, then 30 seconds nineteen times: ten minutes. Counted in looks rather than by the clock:
# while no worker is there nobody looks, and the time must not run out over that.
_LOOKS = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2,
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=25,
)


@workflow.defn(name=RECONCILIATION_WORKFLOW)
class ReconciliationWorkflow:
    """Look until every cost is known, a provider refuses, or the looks are used up."""

    @workflow.run
    async def run(self, request: Reconcile) -> Reconciled:
        """Return how many costs are known in the end.

        Raises:
            ActivityError: the database did not answer at the last look, or the run was cancelled.
        """
        result = await _look(request)
        workflow.upsert_search_attributes([OUTCOME.value_set(_UNKNOWN if result.unknown else _SETTLED)])
        return result


async def _look(request: Reconcile) -> Reconciled:
    try:
        result: Reconciled = await workflow.execute_activity(
            "reconcile",
            request,
            result_type=Reconciled,
            start_to_close_timeout=_LOOK_TIMEOUT,
            retry_policy=_LOOKS,
            summary="what the broken calls cost",
        )
    except ActivityError as error:
        if isinstance(error.cause, ApplicationError) and error.cause.details:
            return Reconciled.model_validate(error.cause.details[0])
        raise
    return result
