"""Step 1: find the turn, wait for its place, choose what it remembers."""

from temporalio import activity

from activities.failures import only_storage_is_retried
from core.orchestrator.contracts import InteractionRequest, MemoryWindow
from core.orchestrator.errors import UnknownResourceError
from core.orchestrator.interactions.settlement import Settlement
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.budget import MemoryBudget


class LoadMemoryActivity:
    """Begins turns."""

    def __init__(self, store: InteractionStore, settlement: Settlement, budget: MemoryBudget) -> None:
        """Remember as much as `budget` allows."""
        self._store = store
        self._settlement = settlement
        self._budget = budget

    @activity.defn(name="load_memory")
    async def load_memory(self, request: InteractionRequest) -> MemoryWindow:
        """Return the turn's memory, or which turn it has to wait for."""
        with only_storage_is_retried():
            said = await self._store.said(request.interaction_id) if request.has_input else None
            budget = await self._budget.of(request, said)
            while True:
                try:
                    window = await self._store.take_place(request.interaction_id, budget.tokens)
                except UnknownResourceError:
                    # The service opened the turn before it started us; a restored backup may not know it.
                    await self._store.open_turn(request)
                    continue
                if window.waiting_on is None:
                    return window.model_copy(update={"budget": budget.tokens, "budget_reason": budget.reason})
                if not await self._settlement.settle_if_gone(window.waiting_on):
                    return window
