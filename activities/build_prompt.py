"""Step 2: the agent, the exact prompt, the plan of models."""

from temporalio import activity

from activities.failures import only_storage_is_retried
from core.orchestrator.contracts import BuildPrompt, PromptPlan
from core.orchestrator.interactions.prompting import PromptBuilder


class BuildPromptActivity:
    """Builds prompts."""

    def __init__(self, builder: PromptBuilder) -> None:
        """Build with `builder`."""
        self._builder = builder

    @activity.defn(name="build_prompt")
    async def build_prompt(self, request: BuildPrompt) -> PromptPlan:
        """Return the plan; the prompt is in the store."""
        with only_storage_is_retried():
            return await self._builder.build(request.interaction_id, request.window)
