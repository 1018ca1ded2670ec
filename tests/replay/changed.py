"""Workflows that break determinism on purpose: the same name as a released one, another order of steps.

They live outside the test module because workflow code runs in a sandbox of its own, which loads this file anew.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from core.orchestrator.contracts import (
        INTERACTION_WORKFLOW,
        PLACE_FREED_SIGNAL,
        RECONCILIATION_WORKFLOW,
        BuildPrompt,
        InteractionRequest,
        InteractionView,
        Reconcile,
        Reconciled,
    )
    from workflows import steps
    from workflows.fallback import ask_models
    from workflows.settling import Outcome, settle


@workflow.defn(name=INTERACTION_WORKFLOW, sandboxed=False)
class Forgetful:
    """Skips `load_memory`."""

    @workflow.run
    async def run(self, request: InteractionRequest) -> InteractionView:
        return await settle(request.interaction_id, self._answer(request))

    @workflow.signal(name=PLACE_FREED_SIGNAL)
    def place_freed(self) -> None:
        """Ignore it."""

    async def _answer(self, request: InteractionRequest) -> Outcome:
        plan = await steps.build_prompt(BuildPrompt(interaction_id=request.interaction_id))
        return await ask_models(request.interaction_id, plan)


@workflow.defn(name=INTERACTION_WORKFLOW, sandboxed=False)
class Hasty:
    """Builds the prompt before it remembers."""

    @workflow.run
    async def run(self, request: InteractionRequest) -> InteractionView:
        return await settle(request.interaction_id, self._answer(request))

    @workflow.signal(name=PLACE_FREED_SIGNAL)
    def place_freed(self) -> None:
        """Ignore it."""

    async def _answer(self, request: InteractionRequest) -> Outcome:
        plan = await steps.build_prompt(BuildPrompt(interaction_id=request.interaction_id))
        await steps.load_memory(request)
        return await ask_models(request.interaction_id, plan)


@workflow.defn(name=RECONCILIATION_WORKFLOW, sandboxed=False)
class Sleepy:
    """Waits by a timer of its own before it looks."""

    @workflow.run
    async def run(self, request: Reconcile) -> Reconciled:
        await workflow.sleep(1)
        return Reconciled()
