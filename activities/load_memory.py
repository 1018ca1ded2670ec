"""Step 1: find the turn, wait for its place, choose what it remembers."""

from temporalio import activity

from activities.failures import only_storage_is_retried
from core.orchestrator.contracts import InteractionRequest, MemoryWindow
from core.orchestrator.errors import UnknownResourceError
from core.orchestrator.interactions.settlement import Settlement
from core.orchestrator.interactions.store import InteractionStore


class LoadMemoryActivity:
    """Begins turns."""

    def __init__(self, store: InteractionStore, settlement: Settlement, memory_token_budget: int) -> None:
        """Remember at most `memory_token_budget` estimated tokens."""
        self._store = store
        self._settlement = settlement
        self._memory_token_budget = memory_token_budget

    @activity.defn(name="load_memory")
    async def load_memory(self, request: InteractionRequest) -> MemoryWindow:
        """Return the turn's memory, or which turn it has to wait for."""
        with only_storage_is_retried():
            while True:
                try:
                    window = await self._store.take_place(request.interaction_id, self._memory_token_budget)
                except UnknownResourceError:
                    # The service opened the turn before it started us; a restored backup may not know it.
                    await self._store.open_turn(request)
                    continue
                if window.waiting_on is None or not await self._settlement.settle_if_gone(window.waiting_on):
                    return window
