"""`completion`: messages straight to a model, without persona or memory, and durable all the same."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from core.orchestrator.contracts import COMPLETION_WORKFLOW, BuildPrompt, CompletionRequest, InteractionView
    from workflows import steps
    from workflows.fallback import ask_models
    from workflows.settling import Outcome, settle


@workflow.defn(name=COMPLETION_WORKFLOW)
class CompletionWorkflow:
    """Plan the models, ask them in order, store the results."""

    @workflow.run
    async def run(self, request: CompletionRequest) -> InteractionView:
        """Return the completion as the store has it at the end."""
        return await settle(request.interaction_id, self._answer(request))

    async def _answer(self, request: CompletionRequest) -> Outcome:
        plan = await steps.build_prompt(BuildPrompt(interaction_id=request.interaction_id))
        return await ask_models(request.interaction_id, plan)
