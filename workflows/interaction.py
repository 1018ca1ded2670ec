"""`interaction`: a user's message in, a reply in character out."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from core.orchestrator.contracts import (
        INTERACTION_WORKFLOW,
        PLACE_FREED_SIGNAL,
        BuildPrompt,
        InteractionError,
        InteractionRequest,
        InteractionView,
        MemoryWindow,
    )
    from core.orchestrator.errors import ErrorType
    from workflows import steps
    from workflows.fallback import ask_models
    from workflows.settling import Outcome, settle

_LOOK_EVERY = timedelta(seconds=5)
"""The first in line is signalled when its place has come; it looks for itself should the signal be lost. Who is farther
back looks the more rarely: a hundred that look all the time would keep the first one from ending."""


@workflow.defn(name=INTERACTION_WORKFLOW)
class InteractionWorkflow:
    """Load memory, build the prompt, ask the models in order, store the results."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._place_freed = False

    @workflow.run
    async def run(self, request: InteractionRequest) -> InteractionView:
        """Return the interaction as the store has it at the end."""
        return await settle(request.interaction_id, self._answer(request))

    @workflow.signal(name=PLACE_FREED_SIGNAL)
    def place_freed(self) -> None:
        """Be told that the turn before this one has ended."""
        self._place_freed = True

    async def _answer(self, request: InteractionRequest) -> Outcome:
        window = await self._remember(request)
        if window.ended:  # the store knows how, and keeps to it
            return InteractionError(type=ErrorType.UNAVAILABLE, detail="the interaction ended before it began")
        plan = await steps.build_prompt(BuildPrompt(interaction_id=request.interaction_id, window=window))
        return await ask_models(request.interaction_id, plan)

    async def _remember(self, request: InteractionRequest) -> MemoryWindow:
        while True:
            self._place_freed = False
            window = await steps.load_memory(request)
            if window.waiting_on is None:
                return window
            workflow.set_current_details(f"waiting for `{window.waiting_on}`, an earlier turn of the session")
            try:
                await workflow.wait_condition(lambda: self._place_freed, timeout=_LOOK_EVERY * window.ahead)
            except TimeoutError:
                continue
