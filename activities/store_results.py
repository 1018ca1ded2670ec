"""Step 4: the reply, the end of the turn, and a word to the next one in line."""

from temporalio import activity

from activities.failures import only_storage_is_retried
from core.orchestrator.contracts import InteractionView, StoreResults
from core.orchestrator.interactions.results import Results


class StoreResultsActivity:
    """Ends interactions."""

    def __init__(self, results: Results) -> None:
        """Keep with `results`."""
        self._results = results

    @activity.defn(name="store_results")
    async def store_results(self, request: StoreResults) -> InteractionView:
        """Return the interaction as the store has it now: the first ending stays."""
        with only_storage_is_retried():
            return await self._results.keep(request)
