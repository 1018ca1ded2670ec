"""Building the prompt: agent by context, persona and memory into messages, and the plan of models.

What is sent, and why, goes into the store; what goes on to the workflow are names and numbers.
"""

from collections.abc import Sequence
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
from core.orchestrator.interactions.said import Said
from core.orchestrator.interactions.store import InteractionStore
from core.orchestrator.memory.chat_messages import tokens_of, with_answered_calls, with_known_results
from core.orchestrator.memory.conversations import Conversations
from core.orchestrator.models.planning import ModelPlan, ModelPlanner
from core.orchestrator.personas.library import PersonaLibrary
from core.orchestrator.registry import Registry

DEFAULT_TEMPERATURE = 0.7
_INSTRUCTING = ("system", "developer")


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
        said = await self._store.said(request.interaction_id) if request.has_input else None
        history = await self._history(request, window, said)
        context = AgentContext(
            message=request.message,
            user_id=request.user_id,
            session_id=request.session_id,
            persona=persona,
            history=history,
            context=request.context,
            instructions=[one for one in said.instructions if one.get("content")] if said else (),
            as_sent=_new(request, said, history) if said else (),
        )
        choice = select_agent(context, request.agent, self._agents)
        messages = messages_of(choice.agent, context)
        prompt = Prompt(
            messages,
            _first_of(request.temperature, temperature_of(choice.agent), persona.temperature, DEFAULT_TEMPERATURE),
            request.max_tokens or persona.max_tokens,
            dict(said.parameters) if said else {},
        )
        plan = await self._planner.plan(request, persona)
        tokens = sum(map(tokens_of, messages))
        in_progress = _in_progress(request.interaction_id, plan, choice)
        version = persona.version
        begun = await self._store.save_prompt(
            request.interaction_id,
            prompt,
            {
                "persona": {"id": persona.id, "name": persona.name, "version": version},
                "agent": {"name": choice.name, "forced": choice.forced, "scores": choice.scores},
                "memory": _explain_memory(window, history),
                "instructions": list(context.instructions),
                "budget": _explain_budget(messages, history, context.new_messages, tokens),
                "plan": _explain_plan(plan),
            },
            persona_name=persona.name,
            persona_version=version,
            agent=choice.name,
            told=[in_progress],
        )
        if not begun:
            return PromptPlan(limits=self._limits)
        self._events.publish(in_progress)
        return self._result(plan, tokens, choice, version)

    async def _history(self, request: InteractionRequest, window: MemoryWindow, said: Said | None) -> Sequence[Message]:
        if request.session_id is None:
            return said.earlier if said else ()
        history = await self._conversations.history(request.session_id, window)
        return with_answered_calls(history, said.new if said else ())

    async def _build_completion(self, request: CompletionRequest) -> PromptPlan:
        prompt = await self._store.prompt(request.interaction_id)
        plan = await self._planner.plan(request)
        tokens = sum(map(tokens_of, prompt.messages))
        in_progress = _in_progress(request.interaction_id, plan)
        explanation = {"budget": {"total": tokens}, "plan": _explain_plan(plan)}
        if not await self._store.save_prompt(request.interaction_id, prompt, explanation, told=[in_progress]):
            return PromptPlan(limits=self._limits)
        self._events.publish(in_progress)
        return self._result(plan, tokens)

    def _result(
        self,
        plan: ModelPlan,
        tokens: int,
        choice: AgentChoice | None = None,
        persona_version: str | None = None,
    ) -> PromptPlan:
        return PromptPlan(
            prompt_tokens=tokens,
            agent=choice and choice.name,
            persona_version=persona_version,
            calls=plan.calls,
            limits=self._limits,
            after_output=plan.after_output,
        )


def _new(request: InteractionRequest, said: Said, history: Sequence[Message]) -> Sequence[Message]:
    """Return what is new; in a session without results of calls that it knows nothing of."""
    return said.new if request.session_id is None else with_known_results(history, said.new)


def _in_progress(interaction_id: str, plan: ModelPlan, choice: AgentChoice | None = None) -> InteractionInProgress:
    return InteractionInProgress(
        interaction_id=interaction_id, agent=choice and choice.name, models=[call.model for call in plan.calls]
    )


def _explain_memory(window: MemoryWindow, history: Sequence[Message]) -> dict[str, Any]:
    return {
        "used": {
            "messages": len(history),
            "tokens": sum(map(tokens_of, history)),
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


def _explain_budget(
    messages: Sequence[Message], history: Sequence[Message], new: Sequence[Message], total: int
) -> dict[str, int]:
    """Split the prompt's estimated tokens by section."""
    return {
        "system": sum(tokens_of(message) for message in messages if message["role"] in _INSTRUCTING),
        "memory": sum(map(tokens_of, history)),
        "message": sum(map(tokens_of, new)),
        "total": total,
    }


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


def _first_of(*values: float | None) -> float:
    return next(value for value in values if value is not None)
