"""Building the prompt: agent by context, persona and memory into messages, and the plan of models.

What is sent, and why, goes into the store; what goes on to the workflow are names and numbers.
"""

import json
from typing import Any

from core.orchestrator.agents.base import Agent, AgentContext
from core.orchestrator.agents.guards import messages_of, temperature_of
from core.orchestrator.agents.selection import AgentChoice, select_agent
from core.orchestrator.calls.prompt import Prompt
from core.orchestrator.contracts import (
    CallLimits,
    CompletionRequest,
    InteractionRequest,
    MemoryWindow,
    Message,
    PromptPlan,
)
from core.orchestrator.events import EventBus, InteractionInProgress
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.conversations import Conversations
from core.orchestrator.models.planning import ModelPlan, ModelPlanner
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.registry import Registry
from core.orchestrator.tokens import estimate_tokens

DEFAULT_TEMPERATURE = 0.7


class PromptBuilder:
    """Builds and keeps prompts."""

    def __init__(
        self,
        *,
        store: InteractionStore,
        conversations: Conversations,
        personas: PersonaLibrary,
        agents: Registry[Agent],
        planner: ModelPlanner,
        events: EventBus,
        limits: CallLimits,
    ) -> None:
        """Build from `personas`, `agents` and `conversations`; `limits` go into every plan."""
        self._store = store
        self._conversations = conversations
        self._personas = personas
        self._agents = agents
        self._planner = planner
        self._events = events
        self._limits = limits

    async def build(self, interaction_id: str, window: MemoryWindow | None) -> PromptPlan:
        """Build the prompt of an interaction, keep it, and return the plan: without calls where it has ended already.

        Raises:
            UnknownResourceError: the interaction, its persona or its agent does not exist (any more).
            PromptError: an agent, a formatter or a template failed.
            StorageUnavailableError: the database did not answer.
        """
        request = await self._store.request(interaction_id)
        if isinstance(request, InteractionRequest):
            return await self._build_turn(request, window or MemoryWindow())
        return await self._build_completion(request)

    async def _build_turn(self, request: InteractionRequest, window: MemoryWindow) -> PromptPlan:
        persona = self._personas.get(request.persona_id)
        context = AgentContext(
            message=request.message,
            user_id=request.user_id,
            session_id=request.session_id,
            persona=persona,
            history=await self._conversations.history(request.session_id, window),
            context=request.context,
        )
        choice = select_agent(context, request.agent, self._agents)
        messages = messages_of(choice.agent, context)
        prompt = Prompt(
            messages,
            _first_of(request.temperature, temperature_of(choice.agent), persona.temperature, DEFAULT_TEMPERATURE),
            request.max_tokens or persona.max_tokens,
        )
        plan = await self._planner.plan(request, persona)
        tokens = sum(_tokens(message) for message in messages)
        in_progress = _in_progress(request.interaction_id, plan, choice)
        await self._store.save_prompt(
            request.interaction_id,
            prompt,
            {
                "persona": {"id": persona.id, "name": persona.name, "version": persona.version},
                "agent": {"name": choice.name, "forced": choice.forced, "scores": choice.scores},
                "memory": _explain_memory(window),
                "budget": _explain_budget(messages, window, tokens),
                "plan": _explain_plan(plan),
            },
            persona_name=persona.name,
            persona_version=persona.version,
            agent=choice.name,
            told=[in_progress],
        )
        self._events.publish(in_progress)
        return self._result(plan, tokens, choice, persona)

    async def _build_completion(self, request: CompletionRequest) -> PromptPlan:
        if not await self._store.begin_completion(request.interaction_id):
            return PromptPlan(limits=self._limits)
        prompt = await self._store.prompt(request.interaction_id)
        plan = await self._planner.plan(request)
        tokens = sum(_tokens(message) for message in prompt.messages)
        in_progress = _in_progress(request.interaction_id, plan)
        explanation = {"budget": {"total": tokens}, "plan": _explain_plan(plan)}
        await self._store.save_prompt(request.interaction_id, prompt, explanation, told=[in_progress])
        self._events.publish(in_progress)
        return self._result(plan, tokens)

    def _result(
        self,
        plan: ModelPlan,
        tokens: int,
        choice: AgentChoice | None = None,
        persona: PersonaConfig | None = None,
    ) -> PromptPlan:
        return PromptPlan(
            prompt_tokens=tokens,
            agent=choice and choice.name,
            persona_version=persona and persona.version,
            calls=plan.calls,
            limits=self._limits,
            after_output=plan.after_output,
        )


def _in_progress(interaction_id: str, plan: ModelPlan, choice: AgentChoice | None = None) -> InteractionInProgress:
    return InteractionInProgress(
        interaction_id=interaction_id, agent=choice and choice.name, models=[call.model for call in plan.calls]
    )


def _explain_memory(window: MemoryWindow) -> dict[str, Any]:
    return {
        "used": {
            "messages": window.messages,
            "tokens": window.tokens,
            "first_sequence": window.first_sequence,
            "last_sequence": window.last_sequence,
        },
        "dropped": {
            "messages": window.dropped,
            "reason": f"the budget of {window.budget} estimated tokens was spent on newer ones"
            if window.dropped
            else None,
        },
        "token_budget": window.budget,
        "token_budget_reason": window.budget_reason or "MEMORY_TOKEN_BUDGET",
    }


def _explain_budget(messages: list[Message], window: MemoryWindow, total: int) -> dict[str, int]:
    """Split the prompt's estimated tokens by section."""
    system = sum(_tokens(message) for message in messages if message["role"] == "system")
    return {"system": system, "memory": window.tokens, "message": _tokens(messages[-1]), "total": total}


def _explain_plan(plan: ModelPlan) -> dict[str, Any]:
    return {
        "models": [call.model_dump(mode="json") for call in plan.calls],
        "model_from": plan.model_from,
        "fallbacks_from": plan.fallbacks_from,
        "after_output": plan.after_output,
        "after_output_from": plan.after_output_from,
        "skipped": [
            {
                "provider": call.provider,
                "model": call.model,
                "error_type": call.cooling_error,
                "reason": call.cooling,
            }
            for call in plan.calls
            if call.cooling
        ],
    }


def _tokens(message: Message) -> int:
    content = message["content"]
    return estimate_tokens(content if isinstance(content, str) else json.dumps(content))


def _first_of(*values: float | None) -> float:
    return next(value for value in values if value is not None)
