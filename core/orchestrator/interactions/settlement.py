"""Interactions whose workflow is gone: settled by whoever meets them next, so that nobody waits for them.

The service process may be killed between opening a turn and starting its workflow, and an operator may terminate a
run. Neither leaves an ending in the store; both are told apart from a run in progress by asking Temporal.
"""

from datetime import timedelta

from core.orchestrator.calls.ledger import AttemptLedger
from core.orchestrator.clock import Clock, utc_now
from core.orchestrator.contracts import InteractionError, StoreResults
from core.orchestrator.errors import ErrorType, WorkflowServiceUnavailableError
from core.orchestrator.interactions.results import Results
from core.orchestrator.interactions.store import Abandonment, InteractionStore
from core.orchestrator.runs import START_TIMEOUT, Runs, RunState
from core.orchestrator.workflow_ids import workflow_id_of

_GRACE = timedelta(seconds=2)

_CANCELLED = InteractionError(type=ErrorType.CANCELLED, detail="the workflow was cancelled")
_ENDED = InteractionError(type=ErrorType.UNAVAILABLE, detail="the workflow was ended from outside")
_DELETED = InteractionError(type=ErrorType.UNAVAILABLE, detail="the workflow is gone from Temporal")


class Settlement:
    """Ends interactions that nobody will end any more."""

    def __init__(
        self, store: InteractionStore, ledger: AttemptLedger, results: Results, runs: Runs, clock: Clock = utc_now
    ) -> None:
        """Compare `store` with what `runs` knows, and end through `results`."""
        self._store = store
        self._ledger = ledger
        self._results = results
        self._runs = runs
        self._clock = clock

    async def settle_if_gone(self, interaction_id: str) -> bool:
        """End an open interaction whose workflow does not run; nobody is taken for gone who cannot be asked after.

        Returns:
            Whether it has ended now.
        """
        try:
            return await self.settle(interaction_id)
        except WorkflowServiceUnavailableError:
            return False

    async def settle(self, interaction_id: str) -> bool:
        """End an open interaction whose workflow does not run, and cancel the run of one that is to end.

        Returns:
            Whether it has ended now.

        Raises:
            UnknownResourceError: there is none of that id.
            StorageUnavailableError: the database did not answer.
            WorkflowServiceUnavailableError: Temporal did not answer.
        """
        state = await self._runs.state(workflow_id_of(interaction_id))
        match state:
            case RunState.RUNNING:
                # Whoever marked it may have been lost before telling Temporal, which alone reaches a run between tries.
                if await self._store.is_cancelling(interaction_id):
                    await self._runs.cancel(workflow_id_of(interaction_id))
                return False
            case RunState.CANCELLED:
                await self._results.keep(StoreResults(interaction_id=interaction_id, error=_CANCELLED))
            case RunState.CLOSED:
                await self._end(interaction_id, _ENDED)
            case RunState.MISSING:
                offered_at = await self._store.offered_at(interaction_id)
                if self._clock() - offered_at < START_TIMEOUT + _GRACE:
                    return False
                # Never begun, it was never accepted; begun, it was deleted with its history.
                match await self._store.abandon(interaction_id, offered_at):
                    case Abandonment.OFFERED_ANEW:
                        return False
                    case Abandonment.BEGUN:
                        await self._end(interaction_id, _DELETED)
        return True

    async def _end(self, interaction_id: str, error: InteractionError) -> None:
        """End with the answer a model has given already, where there is one: it is paid for."""
        place = await self._ledger.answered_place(interaction_id)
        await self._results.keep(StoreResults(interaction_id=interaction_id, answered_place=place, error=error))
