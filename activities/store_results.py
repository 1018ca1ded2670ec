"""Step 4: the reply, the end of the turn, and a word to the next one in line."""

from temporalio import activity

from activities.failures import only_storage_is_retried
from core.orchestrator.contracts import InteractionView, StoreResults, workflow_id_of
from core.orchestrator.interactions.results import Results
from core.orchestrator.interactions.settlement import Runs


class StoreResultsActivity:
    """Ends interactions."""

    def __init__(self, results: Results, runs: Runs) -> None:
        """Keep with `results`; the next turn of the session is told through `runs`."""
        self._results = results
        self._runs = runs

    @activity.defn(name="store_results")
    async def store_results(self, request: StoreResults) -> InteractionView:
        """Return the interaction as the store has it now: the first ending stays."""
        with only_storage_is_retried():
            ended = await self._results.keep(request)
        if ended.following is not None:
            await self._runs.free_place(workflow_id_of(ended.following))
        return ended.view
